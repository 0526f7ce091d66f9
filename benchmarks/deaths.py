"""Deaths of child processes: ``python -m benchmarks.deaths [--jobs 1000]``.

Prints how long a node needs until it has all its children again after one was killed; whether the effects of 1,000 jobs
with a session happen once though children are killed at random; what becomes of a job for which the kernel has no
memory (where this user may make a control group: root on Linux); and how long children live after their node was
killed.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import signal
import sys
import time
from pathlib import Path

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from benchmarks.setting import Setting, setting
from oban_sqla import Job, Oban, Processes, job

URL = "OBAN_BENCH_CHILD_URL"
"""The environment variable by which children find the database; see `child_session`."""
CHILDREN = 2
WHOLE, GONE = 2.0, 1.0
PROCESSES = Processes(size=CHILDREN, sessionmaker="benchmarks.child_session:Session")


@job(name="bench.add", queue="deaths", executor="process", max_attempts=100)
async def add(session: AsyncSession, amount: int) -> None:
    await session.execute(text("UPDATE bench_sums SET total = total + :amount"), {"amount": amount})
    await asyncio.sleep(0.005)


@job(name="bench.grow", queue="deaths", executor="process", max_attempts=2)
def grow(megabytes: int, group: str) -> int:
    """Keep so much memory in a control group: the path of its ``cgroup.procs``."""
    Path(group).write_text(str(os.getpid()))
    return len([os.urandom(1) * 1_000_000 for _ in range(megabytes)])


@job(name="bench.stay", queue="deaths", executor="process")
def stay(seconds: float) -> None:
    time.sleep(seconds)


async def whole_again(setting: Setting, oban: Oban, times: int = 5) -> bool:
    """Whether a child that was killed at rest is replaced in time."""
    assert oban._life.places is not None
    pool = oban._life.places._pool
    took: list[float] = []
    for _ in range(times):
        await oban.enqueue([stay.new(0.05) for _ in range(2 * CHILDREN)])
        while len(pool._idle) < CHILDREN or await _left(setting):
            await asyncio.sleep(0.01)
        victim = pool._idle[0].pid
        os.kill(victim, signal.SIGKILL)
        began = time.perf_counter()
        while victim in pool.pids or len(pool._idle) < CHILDREN:
            await asyncio.sleep(0.001)
        took.append(time.perf_counter() - began)
    print(f"all children there again after one was killed: {max(took):.2f} s at most (goal: {WHOLE:g})", flush=True)
    return max(took) <= WHOLE


async def exactly_once(setting: Setting, oban: Oban, jobs: int) -> bool:
    """Whether the sum is right after children were killed at random."""
    await setting.raw.execute("CREATE TABLE bench_sums (total bigint); INSERT INTO bench_sums VALUES (0)")
    await oban.enqueue([add.new(number) for number in range(jobs)])
    deaths = 0

    async def kill() -> None:
        nonlocal deaths
        assert oban._life.places is not None
        while True:
            await asyncio.sleep(random.uniform(0.1, 0.6))
            if busy := [child for child in oban._life.places._pool._all if child._done is not None]:
                os.kill(random.choice(busy).pid, signal.SIGKILL)
                deaths += 1

    killing = asyncio.create_task(kill())
    while await _left(setting):
        await oban.retry(select(Job).where(Job.state == "retryable"))
        await asyncio.sleep(0.1)
    killing.cancel()
    total = await setting.raw.fetchval("SELECT total FROM bench_sums")
    poisoned = await setting.raw.fetchval(
        "SELECT coalesce(sum((args->>'amount')::int), 0) FROM oban_jobs WHERE state = 'discarded'"
    )
    holds = bool(total == sum(range(jobs)) - poisoned and deaths)
    print(f"{jobs} effects, {deaths} children killed: {'exact' if holds else f'WRONG: {total}'}", flush=True)
    return holds


async def out_of_memory(setting: Setting, oban: Oban) -> bool:
    """Whether a child that the kernel kills for its memory costs one attempt of one job, and the others complete."""
    if (group := _memory_group()) is None:
        print("out of memory: not tried, because no control group for memory can be made here", flush=True)
        return True
    try:
        too_large, *others = [grow.new(1_000, f"{group}/cgroup.procs"), *(stay.new(0.05) for _ in range(20))]
        await oban.enqueue([too_large, *others])
        while await _left(setting):
            await oban.retry(select(Job).where(Job.state == "retryable"))
            await asyncio.sleep(0.1)
        rows = await setting.raw.fetch(
            "SELECT state = 'discarded' AS is_bad, attempt, errors::text LIKE '%killed by SIGKILL%' AS is_named "
            "FROM oban_jobs WHERE id = ANY($1::bigint[])",
            [spec.id for spec in (too_large, *others)],
        )
        bad = [row for row in rows if row["is_bad"]]
        holds = len(rows) == 21 and len(bad) == 1 and bad[0]["attempt"] == 2 and bool(bad[0]["is_named"])
        print(f"out of memory: {'one job failed, 20 completed' if holds else f'WRONG: {rows}'}", flush=True)
        return holds
    finally:
        group.rmdir()


def _memory_group() -> Path | None:
    """A new control group of 200 MB; None where none can be made."""
    for root, most in (("/sys/fs/cgroup", "memory.max"), ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")):
        if not Path(root, "cgroup.procs").exists():
            continue
        group = Path(root, "oban_sqla_deaths")
        try:
            group.mkdir(exist_ok=True)
            (group / most).write_text("200000000")
        except OSError:
            continue
        return group
    return None


async def with_its_node(setting: Setting) -> bool:
    """Whether the children of a node that is killed are gone in time."""
    command = [sys.executable, "-m", "benchmarks.deaths", "--serve", setting.url]
    node = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, env={**os.environ, URL: setting.url}
    )
    assert node.stdout is not None
    await node.stdout.readline()
    async with Oban(setting.engine) as oban:
        await oban.enqueue([stay.new(60) for _ in range(CHILDREN)])
    while await setting.raw.fetchval("SELECT count(*) FROM oban_jobs WHERE state = 'executing'") < CHILDREN:
        await asyncio.sleep(0.01)
    listed = await asyncio.create_subprocess_exec(
        "ps", "-o", "pid=", "--ppid", str(node.pid), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await listed.communicate()
    children = [int(pid) for pid in said.split() if _lives(int(pid))]
    node.kill()
    began = time.perf_counter()
    while any(map(_lives, children)):
        await asyncio.sleep(0.001)
    took = time.perf_counter() - began
    await node.wait()
    print(f"{len(children)} children gone after their node was killed: {took * 1e3:.0f} ms (goal: {GONE * 1e3:g})")
    return len(children) >= CHILDREN and took <= GONE


async def _left(setting: Setting) -> bool:
    sql = "SELECT EXISTS (SELECT FROM oban_jobs WHERE state NOT IN ('completed', 'discarded'))"
    return bool(await setting.raw.fetchval(sql))


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def serve(url: str) -> None:
    """A node, until it is killed."""
    async with Oban(create_async_engine(url), queues={"deaths": 5}, processes=PROCESSES):
        print("ready", flush=True)
        await asyncio.sleep(600)


async def main(jobs: int) -> None:
    async with setting() as where:
        os.environ[URL] = where.url
        await where.empty()
        async with Oban(where.engine, queues={"deaths": 10}, processes=PROCESSES, sessionmaker=where.session) as oban:
            held = [await whole_again(where, oban), await exactly_once(where, oban, jobs)]
            held.append(await out_of_memory(where, oban))
        await where.empty()
        held.append(await with_its_node(where))
    if not all(held):
        raise SystemExit(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1_000)
    parser.add_argument("--serve", metavar="URL")
    options = parser.parse_args()
    logging.getLogger("oban_sqla").setLevel(logging.CRITICAL)
    asyncio.run(serve(options.serve) if options.serve else main(options.jobs))
