"""Long jobs under kills, races and in numbers: ``python -m benchmarks.durable [--only kills races latency sleepers]``.

``kills``: 1,000 jobs of five steps whose nodes are killed at random every second, with sums that have to be exact.
``races``: 10,000 signals sent before, during and after the moment at which their job goes to sleep, none lost, and none
late by more than a second. ``latency``: from a signal to the job that sleeps until it comes, compared with a job's
latency, sent in this process and from elsewhere. ``sleepers``: 10,000 sleeping jobs, which cost a node no statement but
the stager's.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from benchmarks.setting import Setting, median, setting
from oban_sqla import Oban, Queue, enqueue, job
from oban_sqla.durable import wait_for
from tests.durable.node import five

PARTS = 3
"""Steps with an effect, of each job of `tests.durable.node`."""
ASLEEP = """
INSERT INTO oban_jobs (worker, queue, state, scheduled_at)
SELECT 'bench.waits', 'asleep', 'scheduled', timezone('UTC', now()) + interval '3 days' FROM generate_series(1, $1::int)
"""

AT_ONCE, LONGEST_WAIT = 20, 0.02
"""Jobs that wait for a signal at once, and seconds until it is sent."""

sent: dict[int, float] = {}
late: list[float] = []
runs: list[int] = []


@job(name="bench.waits", queue="waits")
async def waits(number: int) -> None:
    """Wait for one signal, asleep."""
    runs.append(number)
    await wait_for("go", live=0)
    late.append(time.perf_counter() - sent.pop(number))


@job(name="bench.starts", queue="waits")
async def starts(number: int) -> None:
    """Start."""
    late.append(time.perf_counter() - sent[number])


async def kills(place: Setting, jobs: int) -> bool:
    """Work jobs of five steps by two nodes, of which one is killed every second; whether each effect is there once."""
    await place.empty()
    await place.raw.execute("DROP TABLE IF EXISTS durable_effects; CREATE TABLE durable_effects (what text)")
    async with AsyncSession(place.engine) as session, session.begin():
        await enqueue(session, [five.new(number=number) for number in range(jobs)])
    nodes: list[subprocess.Popen[bytes]] = []
    count = killed = 0
    try:
        while await place.raw.fetchval("SELECT count(*) FROM oban_jobs WHERE state <> 'completed'"):
            while len(nodes) < 2:
                count += 1
                command = [sys.executable, "-m", "tests.durable.node", place.url, f"n{count}"]
                nodes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))  # noqa: ASYNC220
                await asyncio.sleep(1.5)
            await asyncio.sleep(random.random() * 2)
            victim = nodes.pop(random.randrange(len(nodes)))
            victim.send_signal(signal.SIGKILL)
            await asyncio.to_thread(victim.wait)
            killed += 1
    finally:
        for node in nodes:
            node.kill()
            node.wait()
    wrong = await place.raw.fetchval(
        "SELECT count(*) FROM (SELECT FROM durable_effects GROUP BY what HAVING count(*) <> 1) x"
    )
    effects = await place.raw.fetchval("SELECT count(*) FROM durable_effects")
    right = wrong == 0 and effects == jobs * PARTS
    print(f"kills: {jobs:,} jobs, {killed} kills, {effects:,} effects of {jobs * PARTS:,}, {wrong} not once")
    return right


async def races(place: Setting, signals: int) -> bool:
    """Send each job its signal around the moment at which it goes to sleep; whether none is lost.

    There are as many jobs as may run at once: behind a queue a signal would be as late as that is long.
    """
    await place.empty()
    await place.raw.execute("TRUNCATE oban_steps, oban_signals, oban_news")
    late.clear()
    runs.clear()
    numbers = iter(range(signals))
    async with Oban(place.engine, queues={"waits": Queue(limit=AT_ONCE)}) as oban:

        async def one_by_one() -> None:
            for number in numbers:
                [spec] = await oban.enqueue([waits.new(number)])
                await asyncio.sleep(random.random() * LONGEST_WAIT)
                sent[number] = time.perf_counter()
                await oban.signal(spec, "go", number)
                async with asyncio.timeout(30):
                    while number in sent:
                        await asyncio.sleep(0.001)

        await asyncio.gather(*(one_by_one() for _ in range(AT_ONCE)))
    lost = signals - len(late)
    worst, middle = max(late, default=0.0), median(late or [0.0])
    print(
        f"races: {signals:,} signals, {lost} lost, p50 {middle * 1000:.1f} ms, latest {worst * 1000:.0f} ms; "
        f"{len(runs) - signals:,} found their job asleep"
    )
    return lost == 0 and worst <= 1


async def latencies(place: Setting, count: int) -> bool:
    """Compare the time from a signal to its job with that from an enqueue to its job; whether it is within the goal."""
    await place.empty()
    await place.raw.execute("TRUNCATE oban_steps, oban_signals, oban_news")
    elsewhere = create_async_engine(place.url)
    right = True
    async with Oban(place.engine, queues={"waits": Queue(limit=20)}) as oban:
        for where, sender in (("in this process", oban), ("from elsewhere", Oban(elsewhere))):
            jobs: list[float] = []
            signals: list[float] = []
            for number in range(count):
                late.clear()
                sent[number] = time.perf_counter()
                await sender.enqueue(starts.new(number))
                jobs.append(await _first(late))
                [spec] = await oban.enqueue(waits.new(number))
                while await place.raw.fetchval("SELECT state FROM oban_jobs WHERE id = $1", spec.id) != "scheduled":
                    await asyncio.sleep(0.002)
                await asyncio.sleep(0.01)
                late.clear()
                sent[number] = time.perf_counter()
                await sender.signal(spec, "go", number)
                signals.append(await _first(late))
            job, heard = median(jobs) * 1000, median(signals) * 1000
            print(f"latency {where}: a job {job:.2f} ms, a signal {heard:.2f} ms, {heard / job:.2f} times (goal: 3)")
            right = right and heard <= 3 * job
    await elsewhere.dispose()
    return right


async def _first(among: list[float]) -> float:
    async with asyncio.timeout(10):
        while not among:
            await asyncio.sleep(0.0005)
    return among[0]


async def sleepers(place: Setting, jobs: int) -> bool:
    """Let `jobs` jobs sleep; whether the node sends as many statements as beside an empty table."""
    counts: list[int] = []
    async with Oban(place.engine, queues={"asleep": 10}):
        for filled in (False, True):
            await place.empty()
            if filled:
                await place.raw.execute(ASLEEP, jobs)
            await asyncio.sleep(1)
            before = await place.committed()
            await asyncio.sleep(20)
            counts.append(await place.committed() - before)
    print(f"sleepers: {jobs:,} jobs, {counts[1]} transactions in 20 s, {counts[0]} without any")
    return counts[1] <= counts[0] + 5


async def main(given: argparse.Namespace) -> None:
    parts: dict[str, Callable[[Setting], Awaitable[bool]]] = {
        "sleepers": lambda place: sleepers(place, 10_000),
        "latency": lambda place: latencies(place, 200),
        "races": lambda place: races(place, given.signals),
        "kills": lambda place: kills(place, given.jobs),
    }
    async with setting() as place:
        right = [await part(place) for name, part in parts.items() if name in given.only]
    sys.exit(0 if all(right) else 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=["sleepers", "latency", "races", "kills"], metavar="PART")
    parser.add_argument("--jobs", type=int, default=1_000)
    parser.add_argument("--signals", type=int, default=10_000)
    asyncio.run(main(parser.parse_args()))
