"""Chunks against single jobs: ``python -m benchmarks.chunks [--jobs 20000] [--size 100] [--limit 10] [--pairs 3]``.

Every job writes a row, in the transaction that completes it: one by one, or those of a chunk together. Prints how many
times as fast chunks are.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from benchmarks.setting import Setting, median, setting
from oban_sqla import Chunk, Job, JobSpec, Oban, Queue, enqueue, job

ROW = text("INSERT INTO effects (n) VALUES (:n)")


@job(queue="bench", name="benchmarks.chunks.single")
async def single(session: AsyncSession, n: int) -> None:
    await session.execute(ROW, {"n": n})


@job(queue="bench", name="benchmarks.chunks.chunked", chunk=Chunk(size=100, timeout=0.2))
async def chunked(jobs: list[Job], session: AsyncSession) -> None:
    await session.execute(ROW, [{"n": one.args["n"]} for one in jobs])


async def measure(place: Setting, specs: list[JobSpec], limit: int) -> float:
    """Jobs a second.

    :raises AssertionError: when an effect is missing, or there twice.
    """
    await place.empty()
    await place.raw.execute("TRUNCATE effects")
    async with place.session() as session, session.begin():
        await enqueue(session, specs)
    await place.raw.execute("VACUUM ANALYZE oban_jobs")
    async with Oban(place.engine, queues={"bench": Queue(limit)}, sessionmaker=place.session):
        began = time.perf_counter()
        while await place.raw.fetchval("SELECT 1 FROM oban_jobs WHERE state <> 'completed' LIMIT 1"):
            await asyncio.sleep(0.02)
        spent = time.perf_counter() - began
    effects = [tuple(row) for row in await place.raw.fetch("SELECT count(*), count(DISTINCT n) FROM effects")]
    assert effects == [(len(specs), len(specs))], f"effects: {effects}"
    return len(specs) / spent


async def main(jobs: int, size: int, limit: int, pairs: int) -> int:
    assert chunked.worker.chunk is not None
    object.__setattr__(chunked.worker.chunk, "size", size)
    async with setting() as place:
        await place.raw.execute("CREATE TABLE effects (n int)")
        ratios: list[float] = []
        for _ in range(pairs):
            one = await measure(place, [single.new(n=n) for n in range(jobs)], limit)
            many = await measure(place, [chunked.new({"n": n}) for n in range(jobs)], limit)
            ratios.append(many / one)
            print(f"{one:,.0f} single jobs/s, {many:,.0f} jobs/s in chunks of {size}: {ratios[-1]:.2f}", flush=True)
        await place.raw.execute("DROP TABLE effects")
    print(f"chunks of {size}: {median(ratios):.2f} x single jobs (goal 3)")
    return 0 if median(ratios) >= 3 else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=100, help="of a chunk")
    parser.add_argument("--limit", type=int, default=10, help="of the queue")
    parser.add_argument("--pairs", type=int, default=3)
    given = parser.parse_args()
    sys.exit(asyncio.run(main(given.jobs, given.size, given.limit, given.pairs)))
