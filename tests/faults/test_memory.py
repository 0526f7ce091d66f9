"""What stays in memory when many jobs have passed. benchmarks/soak.py is the long form."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Iterator

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from oban_sqla import JobSpec, Oban, Queue, enqueue, job
from tests.runtime.helpers import execute, wake
from tests.support import eventually

MEBIBYTE = 1_048_576


@job(name="faults.nothing")
async def nothing(number: int) -> None: ...


async def _many(engine: AsyncEngine, count: int) -> None:
    await execute(
        engine,
        "INSERT INTO oban_jobs (worker, args) SELECT 'faults.nothing', jsonb_build_object('number', n) "
        "FROM generate_series(1, :count) n",
        count=count,
    )


async def _drained(engine: AsyncEngine) -> bool:
    return not (await execute(engine, "SELECT 1 FROM oban_jobs WHERE state <> 'completed' LIMIT 1"))


CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"


async def test_thirty_thousand_jobs_leave_nothing_behind(engine: AsyncEngine) -> None:
    async with Oban(engine, queues={"default": Queue(limit=100, prefetch=200)}) as oban:
        await _many(engine, 5_000)
        wake(oban, "default")
        await eventually(lambda: _drained(engine), 60, interval=0.1)
        connections = await execute(engine, CONNECTIONS)
        gc.collect()
        before = sys.getallocatedblocks()
        await _many(engine, 25_000)
        wake(oban, "default")
        await eventually(lambda: _drained(engine), 90, interval=0.1)
        gc.collect()
        grown = sys.getallocatedblocks() - before
        assert await execute(engine, CONNECTIONS) == connections
    print(f"{grown:,} blocks of memory more after 25,000 jobs")
    assert grown < 10_000, "a single object a job would be 25,000"


async def test_a_flush_of_specs_from_a_generator_holds_no_more_than_the_specs_and_a_chunk(engine: AsyncEngine) -> None:
    count = 15_000
    made = 0

    def specs() -> Iterator[JobSpec]:
        nonlocal made
        for number in range(count):
            made += 1
            yield nothing.new(number=number)

    async with AsyncSession(engine) as session:
        await enqueue(session, [nothing.new(number=-1)])
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            written = await enqueue(session, specs())
            kept, peak = (value - before for value in tracemalloc.get_traced_memory())
        finally:
            tracemalloc.stop()
        await session.commit()
    assert (made, len(written)) == (count, count)
    assert all(spec.id is not None for spec in written)
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM oban_jobs"))).scalar() == count + 1
    print(f"kept {kept / count:.0f} bytes a spec; the peak was {(peak - kept) / MEBIBYTE:.1f} MiB above that")
    assert kept / count < 2_000
    assert peak - kept < 10 * MEBIBYTE, "one chunk of 5,000, not the whole"
