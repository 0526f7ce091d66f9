"""Workflows at full size: ``python -m benchmarks.flows [ROW …]``. Prints a line per figure, with its goal.

Rows: fan, line, enqueue, statements, list, held. Default: all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import undefer

from benchmarks.setting import Setting, median, setting
from oban_sqla import Batch, Chain, Oban, Workflow, enqueue, job, telemetry
from oban_sqla.models.node import Node

QUEUE = "flows"
started: list[float] = []
ran: list[int] = []


@job(queue=QUEUE, name="benchmarks.flows.nothing")
async def nothing() -> None:
    ran.append(1)


@job(queue=QUEUE, name="benchmarks.flows.noted")
async def noted() -> None:
    started.append(time.perf_counter())


@job(queue=QUEUE, name="benchmarks.flows.chained", chain=Chain(by="worker"))
async def chained() -> None: ...


def line(length: int) -> Workflow:
    """Each job waits for the one before."""
    flow = Workflow("line")
    before: list[Node[None]] = []
    for number in range(length):
        before = [flow.add(noted.new(), name=str(number), after=before)]
    return flow


def fan(width: int) -> Workflow:
    """One job, many after it, and one after all of those."""
    flow = Workflow("fan")
    first = flow.add(nothing.new(), name="first")
    flow.add(
        nothing.new(), name="last", after=[flow.add(nothing.new(), name=str(n), after=[first]) for n in range(width)]
    )
    return flow


async def emptied(place: Setting) -> None:
    """No jobs, and no workflows."""
    await place.raw.execute("TRUNCATE oban_workflows, oban_deps, oban_news, oban_batches")
    await place.empty()


async def add(engine: AsyncEngine, *objects: object) -> float:
    """Seconds that adding them takes."""
    began = time.perf_counter()
    async with AsyncSession(engine) as session, session.begin():
        session.add_all(objects)
    return time.perf_counter() - began


async def plain(engine: AsyncEngine, number: int) -> float:
    """Seconds that enqueueing so many plain jobs takes."""
    specs = [nothing.new() for _ in range(number)]
    began = time.perf_counter()
    async with AsyncSession(engine) as session, session.begin():
        await enqueue(session, specs)
    return time.perf_counter() - began


async def drained(place: Setting, jobs: int, limit: int = 50) -> float:
    """Seconds from the start of a node until the last of so many jobs is completed.

    The database is asked only after the last one has run: to find what is left, it reads past all that have ended.
    """
    ran.clear()
    await place.raw.execute("VACUUM ANALYZE oban_jobs, oban_deps, oban_workflows, oban_news")
    async with Oban(place.engine, queues={QUEUE: limit}):
        began = time.perf_counter()
        while len(ran) < jobs:
            await asyncio.sleep(0.005)
        while await place.raw.fetchval("SELECT 1 FROM oban_jobs WHERE state <> 'completed' LIMIT 1"):
            await asyncio.sleep(0.002)
        return time.perf_counter() - began


@contextmanager
def heard(*events: str) -> Generator[list[tuple[str, float, Mapping[str, Any]]]]:
    """What telemetry tells of these events: the name, when, and the fields."""
    found: list[tuple[str, float, Mapping[str, Any]]] = []

    def hear(event: str, fields: Mapping[str, Any]) -> None:
        found.append((event, time.perf_counter(), fields))

    telemetry.attach("benchmarks.flows", events, hear)
    try:
        yield found
    finally:
        telemetry.detach("benchmarks.flows")


async def show_fan(place: Setting, pairs: int = 15, width: int = 10_000) -> None:
    """A fan-out and fan-in against as many plain jobs."""
    ratios: list[float] = []
    for _ in range(pairs):
        await emptied(place)
        await plain(place.engine, width)
        whole = await drained(place, width)
        await emptied(place)
        await add(place.engine, fan(width))
        took = await drained(place, width + 2)
        ratios.append(whole / took)
        print(f"  plain {width / whole:,.0f} jobs/s, fan {width / took:,.0f} jobs/s", flush=True)
    print(f"fan-out of {width:,} and fan-in: {median(ratios):.2f} of the plain drain (goal 0.6)")


async def show_line(place: Setting, length: int = 1_000, singles: int = 200) -> None:
    """A line against the latency of a job; and how soon the release follows the ack."""
    await emptied(place)
    async with Oban(place.engine, queues={QUEUE: 10}):
        latencies: list[float] = []
        for _ in range(singles):
            started.clear()
            async with AsyncSession(place.engine) as session:
                session.add(noted.new())
                await session.flush()
                began = time.perf_counter()
                await session.commit()
            while not started:
                await asyncio.sleep(0)
            latencies.append(started[0] - began)
            await asyncio.sleep(0.005)
        started.clear()
        flow = line(length)
        with heard("oban.producer.ack.stop", "oban.releaser.release.start", "oban.releaser.release.stop") as told:
            await add(place.engine, flow)
            while len(started) < length:
                await asyncio.sleep(0.01)
    link = (started[-1] - started[0]) / (length - 1)
    latency = median(latencies)
    acks = [at for name, at, _ in told if name == "oban.producer.ack.stop"]
    releases = [at for name, at, fields in told if name == "oban.releaser.release.stop" and fields["released_count"]]
    calls = sum(name == "oban.releaser.release.start" for name, _, _ in told)
    waits = [min(release - ack for ack in acks if ack <= release) for release in releases]
    print(
        f"line of {length:,}: {link * 1000:.2f} ms a link, {link / latency:.2f} x the latency of a job, "
        f"{latency * 1000:.2f} ms (goal 3)"
    )
    print(
        f"a release follows its ack by {median(waits) * 1000:.2f} ms at the median (goal 5); {calls:,} calls for "
        f"{len(acks):,} batches of acks"
    )


async def show_enqueue(place: Setting, number: int = 5_000, pairs: int = 5) -> None:
    """Enqueueing a large flow against plain jobs in bulk."""
    ratios: list[float] = []
    for _ in range(pairs):
        await emptied(place)
        bulk = await plain(place.engine, number)
        flow = fan(number - 2)
        ratios.append(bulk / await add(place.engine, flow))
    print(f"enqueue a flow of {number:,}: {median(ratios):.2f} of bulk (goal 0.5)")


async def show_statements(place: Setting) -> None:
    """The statements of a flow of five in a user's transaction against those of five jobs."""
    count = 0

    def counted(*_: Any) -> None:
        nonlocal count
        count += 1

    event.listen(place.engine.sync_engine, "before_cursor_execute", counted)
    try:
        await add(place.engine, *(nothing.new() for _ in range(5)))
        of_jobs, count = count, 0
        await add(place.engine, fan(3))
        print(f"a flow of five takes {count} statements, five jobs {of_jobs} (goal: 2 more)")
    finally:
        event.remove(place.engine.sync_engine, "before_cursor_execute", counted)


async def show_list(place: Setting) -> None:
    """The newest flows with their counts, in a full table."""
    await emptied(place)
    await place.raw.execute("INSERT INTO oban_workflows (name) SELECT 'f' FROM generate_series(1, 100000)")
    await place.raw.execute(
        "INSERT INTO oban_jobs (worker, queue, state, workflow_id, completed_at)"
        " SELECT 'w', 'other', 'completed', id, now() FROM oban_workflows, generate_series(1, 20)"
    )
    await place.raw.execute("VACUUM ANALYZE oban_jobs, oban_workflows")
    newest = select(Workflow).options(undefer(Workflow.counts)).order_by(Workflow.id.desc()).limit(50)
    times: list[float] = []
    for _ in range(20):
        async with AsyncSession(place.engine) as session:
            await session.connection()
            began = time.perf_counter()
            found = (await session.scalars(newest)).all()
            times.append(time.perf_counter() - began)
            assert found[0].counts == {"completed": 20}
    print(f"the 50 newest of 100,000 flows with counts, 2,000,000 jobs: {median(times) * 1000:.1f} ms (goal 10)")


async def show_held(place: Setting, seconds: float = 3.0) -> None:
    """A transaction holds the dependants and jobs of flows, batches and chains, while others are worked on."""
    await emptied(place)
    held = [fan(20) for _ in range(5)]
    batch = Batch([nothing.new() for _ in range(20)], on_exhausted=nothing.new())
    async with AsyncSession(place.engine) as session, session.begin():
        session.add_all([*held, batch, *(chained.new() for _ in range(20))])
        await session.flush()
        await session.execute(text("UPDATE oban_jobs SET priority = 9 WHERE workflow_id IS NULL"))
    async with place.engine.connect() as holder:
        await holder.execute(text("SELECT id FROM oban_jobs WHERE state = 'suspended' FOR UPDATE"))
        await holder.execute(text("SELECT id FROM oban_jobs WHERE batch_id IS NOT NULL ORDER BY id LIMIT 5 FOR UPDATE"))
        with heard("oban.producer.ack.stop", "oban.producer.ack.exception") as told:
            async with Oban(place.engine, queues={QUEUE: 20}):
                until = time.monotonic() + seconds
                others = 0
                while time.monotonic() < until:
                    await add(place.engine, *(fan(10) for _ in range(5)), *(nothing.new() for _ in range(50)))
                    others += 110
                    await asyncio.sleep(0.05)
                await holder.rollback()
                while await place.raw.fetchval("SELECT 1 FROM oban_jobs WHERE state <> 'completed' LIMIT 1"):
                    await asyncio.sleep(0.02)
    acks = [fields["duration"] for name, _, fields in told if name.endswith(".stop")]
    failed = sum(name.endswith(".exception") for name, _, _ in told)
    open_ones = await place.raw.fetchval("SELECT count(*) FROM oban_workflows WHERE state <> 'completed'")
    print(
        f"a transaction holds flows, a batch and a chain for {seconds:g} s: the longest of {len(acks):,} acks took "
        f"{max(acks) * 1000:.0f} ms (goal 100), {failed} failed, {open_ones} flows are open after it"
    )


ROWS: Mapping[str, Callable[[Setting], Any]] = {
    "fan": show_fan,
    "line": show_line,
    "enqueue": show_enqueue,
    "statements": show_statements,
    "list": show_list,
    "held": show_held,
}


async def main(rows: list[str]) -> None:
    """Print the figures."""
    async with setting() as place:
        for row in rows or ROWS:
            await ROWS[row](place)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", choices=[[], *ROWS])
    asyncio.run(main(parser.parse_args().rows))
