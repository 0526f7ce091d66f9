"""Workflows at full size: ``python -m benchmarks.flows``. It starts a PostgreSQL, and prints a line per figure."""

from __future__ import annotations

import asyncio
import time

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import undefer

from oban_sqla import Oban, Workflow, embedded, enqueue, job, migrations
from oban_sqla.models.node import Node

QUEUE = "flows"


@job(queue=QUEUE, name="benchmarks.flows.nothing")
async def nothing() -> None: ...


def line(length: int) -> Workflow:
    """Each job waits for the one before."""
    flow = Workflow("line")
    before: list[Node[None]] = []
    for number in range(length):
        before = [flow.add(nothing.new(), name=str(number), after=before)]
    return flow


def fan(width: int) -> Workflow:
    """One job, many after it, and one after all of those."""
    flow = Workflow("fan")
    first = flow.add(nothing.new(), name="first")
    flow.add(
        nothing.new(), name="last", after=[flow.add(nothing.new(), name=str(n), after=[first]) for n in range(width)]
    )
    return flow


async def add(engine: AsyncEngine, *flows: Workflow) -> float:
    """Seconds that adding them takes."""
    began = time.perf_counter()
    async with AsyncSession(engine) as session, session.begin():
        session.add_all(flows)
    return time.perf_counter() - began


async def plain(engine: AsyncEngine, number: int) -> float:
    """Seconds that enqueueing so many plain jobs takes."""
    specs = [nothing.new() for _ in range(number)]
    began = time.perf_counter()
    async with AsyncSession(engine) as session, session.begin():
        await enqueue(session, specs)
    return time.perf_counter() - began


async def drained(engine: AsyncEngine, limit: int = 50) -> float:
    """Seconds until a node has nothing left to do."""
    async with Oban(engine, queues={QUEUE: limit}):
        began = time.perf_counter()
        left = True
        while left:
            await asyncio.sleep(0.02)
            async with engine.connect() as connection:
                unfinished = "SELECT EXISTS (SELECT FROM oban_jobs WHERE state NOT IN ('completed', 'cancelled'))"
                left = bool(await connection.scalar(text(unfinished)))
        return time.perf_counter() - began


async def main() -> None:
    """Print the figures."""
    async with embedded.start() as server:
        engine = create_async_engine(server.url)
        await migrations.migrate(engine)
        await plain(engine, 10_000)
        whole = await drained(engine)
        await add(engine, fan(10_000))
        print(f"fan-out of 10,000 and fan-in: {whole / await drained(engine):.2f} of the plain drain")
        await add(engine, line(1_000))
        print(f"line of 1,000: {await drained(engine):.2f} ms a link")
        bulk = await plain(engine, 5_000)
        print(f"adding a workflow of 5,000: {bulk / await add(engine, fan(4_998)):.2f} of plain jobs")
        async with AsyncSession(engine) as session:
            await session.execute(text("INSERT INTO oban_workflows (name) SELECT 'f' FROM generate_series(1, 100000)"))
            await session.execute(
                text(
                    "INSERT INTO oban_jobs (worker, queue, state, workflow_id, completed_at) SELECT 'w', 'other', "
                    "'completed', id, now() FROM oban_workflows, generate_series(1, 20) WHERE name = 'f'"
                )
            )
            await session.commit()
            newest = select(Workflow).options(undefer(Workflow.counts)).order_by(Workflow.id.desc()).limit(50)
            began = time.perf_counter()
            (await session.scalars(newest)).all()
            print(f"50 newest of 100,000 with counts: {(time.perf_counter() - began) * 1000:.1f} ms")
        await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main())
