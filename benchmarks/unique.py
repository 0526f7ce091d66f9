"""Unique jobs under contention: ``python -m benchmarks.unique [--connections 32] [--jobs 1000] [--seconds 20]``.

Prints how many jobs, exceptions and deadlocks there are after many connections have flushed the same unique specs with
``replace``, beside retries, staging and pruning; how many jobs a second a bulk of unique specs takes beside plain ones;
and how often a job runs that 1,000 calls from eight connections have debounced over ten seconds, and when.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from benchmarks.setting import Setting, median, setting
from oban_sqla import Job, JobSpec, Oban, Prune, Unique, enqueue, job

GOAL = 0.7
FINISHED = """
    INSERT INTO oban_jobs (worker, queue, state, attempt, completed_at)
    SELECT 'bench.unique.noop', 'bench', 'completed', 1, timezone('UTC', now()) - interval '1 day'
    FROM generate_series(1, $1::int)
"""

Write: TypeAlias = Callable[[AsyncSession, list[JobSpec]], Awaitable[object]]

ran: list[float] = []


@job(name="bench.unique.noop", queue="bench")
async def noop(id: int, version: int = 0) -> None: ...


@job(name="bench.unique.debounced", queue="debounced", unique=Unique(keys=["id"], debounce=1.0, replace=("args",)))
async def debounced(id: int, call: int = 0) -> None:
    ran.append(time.monotonic())


async def contended(setting: Setting, connections: int, jobs: int, seconds: float) -> bool:
    """Whether there are exactly `jobs` jobs at the end, and nothing has raised."""
    await setting.empty()
    wide = create_async_engine(setting.url, pool_size=connections + 8)
    unique = Unique(keys=["id"], replace=("args", "priority", "scheduled_at"))
    failures: Counter[str] = Counter()
    flushes = 0
    end = time.monotonic() + seconds

    async def flush(number: int) -> None:
        nonlocal flushes
        while time.monotonic() < end:
            specs = [
                noop.options(unique=unique, priority=random.randint(0, 9), schedule_in=random.choice([0.0, 0.05, 1.0]))
                .new(id, number) for id in range(jobs)
            ]  # fmt: skip
            random.shuffle(specs)
            try:
                async with AsyncSession(wide) as session, session.begin():
                    session.add_all(specs)
                flushes += 1
            except Exception as error:
                failures[type(error).__name__ + (": deadlock" if "deadlock" in str(error) else "")] += 1

    async def retry(oban: Oban) -> None:
        while time.monotonic() < end:
            try:
                await oban.retry(select(Job).where(Job.id % 3 == random.randrange(3), Job.state == "scheduled"))
                await oban.update(select(Job).where(Job.id % 7 == random.randrange(7)), max_attempts=9)
            except Exception as error:
                failures[f"operator: {type(error).__name__}"] += 1
            await asyncio.sleep(0.01)

    async def fill() -> None:
        while time.monotonic() < end:
            await setting.raw.execute(FINISHED, 500)
            await asyncio.sleep(0.2)

    try:
        async with Oban(wide, prune=Prune(max_age=60, interval=0.5)) as oban:  # it leads, and runs nothing
            await asyncio.gather(*(flush(number) for number in range(connections)), retry(oban), fill())
        async with AsyncSession(wide) as session:
            waiting = Job.state.in_(["available", "scheduled"])
            count = await session.scalar(select(func.count()).select_from(Job).where(waiting))
    finally:
        await wide.dispose()
    holds = count == jobs and not failures
    print(f"{connections} connections, {flushes} flushes of the same {jobs} specs with replace in {seconds:g} s:")
    print(
        f"  {count} jobs, {sum(failures.values())} exceptions {dict(failures) or ''}: {'holds' if holds else 'FAILS'}"
    )
    return holds


async def bulk(setting: Setting, pairs: int, jobs: int = 20_000) -> bool:
    """Whether a bulk of unique specs is fast enough beside plain ones, made and written, in both ways to write one."""
    unique = noop.options(unique=Unique(keys=["id"]))

    async def by_session(session: AsyncSession, specs: list[JobSpec]) -> None:
        session.add_all(specs)

    async def took(write: Write, new: Callable[[int], JobSpec]) -> float:
        await setting.empty()
        began = time.perf_counter()
        async with setting.session() as session, session.begin():
            await write(session, [new(id) for id in range(jobs)])
        return time.perf_counter() - began

    held = True
    for name, write in (("session.add_all", by_session), ("enqueue(session, …)", enqueue)):
        ratios = [await took(write, noop.new) / await took(write, unique.new) for _ in range(pairs + 1)]
        ratio = median(ratios[1:])  # the first ones warm up
        held &= ratio >= GOAL
        print(f"{name}: unique specs by plain ones {ratio:.2f} (goal {GOAL}): {'holds' if ratio >= GOAL else 'FAILS'}")
    return held


async def calls(setting: Setting, number: int = 1_000, seconds: float = 10.0, connections: int = 8) -> bool:
    """Whether debounced calls make one job, which starts once, after the last call."""
    await setting.empty()
    ran.clear()
    engine: AsyncEngine = setting.engine

    async def call(caller: int) -> float:
        last = 0.0
        for each in range(number // connections):
            await asyncio.sleep(seconds / (number // connections) * random.uniform(0.6, 1.4))
            async with AsyncSession(engine) as session, session.begin():
                session.add(debounced.new(1, caller * 10_000 + each))
            last = time.monotonic()
        return last

    async with Oban(engine, queues={"debounced": 5}):
        last = max(await asyncio.gather(*(call(caller) for caller in range(connections))))
        while not ran:
            await asyncio.sleep(0.05)
    async with AsyncSession(engine) as session:
        count = await session.scalar(select(func.count()).select_from(Job))
    holds = count == 1 and len(ran) == 1 and ran[0] > last
    print(
        f"{number} calls over {seconds:g} s from {connections} connections: {count} job, {len(ran)} run, "
        f"{ran[0] - last:.2f} s after the last: {'holds' if holds else 'FAILS'}"
    )
    return holds


async def main(connections: int, jobs: int, seconds: float, pairs: int) -> None:
    async with setting() as where:
        held = [
            await contended(where, connections, jobs, seconds),
            await bulk(where, pairs),
            await calls(where),
        ]
    if not all(held):
        raise SystemExit(1)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--connections", type=int, default=32)
    options.add_argument("--jobs", type=int, default=1_000)
    options.add_argument("--seconds", type=float, default=20.0)
    options.add_argument("--pairs", type=int, default=5)
    given = options.parse_args()
    asyncio.run(main(given.connections, given.jobs, given.seconds, given.pairs))
