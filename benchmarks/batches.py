"""Batches that end at once: ``python -m benchmarks.batches [--batches 300] [--jobs 40] [--connections 8] [--runs 3]``.

The jobs of all batches are shuffled, so that nearly all batches end in the same moment. Each connection takes some,
acknowledges them and acts on the news, beside all others. Each callback must be there once.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections import Counter

from sqlalchemy.ext.asyncio import AsyncSession

from benchmarks import loop
from benchmarks.setting import Setting, setting
from oban_sqla import Batch, job

KINDS = ("attempted", "completed", "exhausted")
AT_ONCE = 20
BEGIN = "UPDATE oban_jobs SET state = 'executing', attempt = 1, attempted_at = now() WHERE id = ANY ($1::bigint[])"
END = "UPDATE oban_jobs SET state = 'completed', completed_at = now() WHERE id = ANY ($1::bigint[])"
RELEASE = "SELECT queue, jobs FROM oban_release_batches(200)"


@job(queue="bench", name="benchmarks.batches.member")
async def member() -> None: ...


@job(queue="bench", name="benchmarks.batches.callback")
async def callback(kind: str) -> None: ...


def batch(jobs: int) -> Batch:
    """A batch with callbacks for all that can come."""
    attempted, completed, exhausted = (callback.new(kind) for kind in KINDS)
    specs = [member.new() for _ in range(jobs)]
    return Batch(specs, on_attempted=attempted, on_completed=completed, on_exhausted=exhausted)


async def run(place: Setting, batches: int, jobs: int, connections: int) -> bool:
    """End all jobs of all batches; whether each callback was enqueued once."""
    await place.empty()
    await place.raw.execute("TRUNCATE oban_batches, oban_news")
    async with AsyncSession(place.engine) as session, session.begin():
        session.add_all([batch(jobs) for _ in range(batches)])
    ids = [row[0] for row in await place.raw.fetch("SELECT id FROM oban_jobs")]
    random.shuffle(ids)

    async def work() -> None:
        connection = await loop.connect(place.url)
        while ids:
            mine, ids[-AT_ONCE:] = ids[-AT_ONCE:], []
            await connection.execute(BEGIN, mine)
            await connection.execute(END, mine)
            await connection.fetch(RELEASE)
        while any(queue is None for queue, _ in await connection.fetch(RELEASE)):
            await asyncio.sleep(0.002)
        await connection.close()

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(connections)))
    spent = time.perf_counter() - began
    found = await place.raw.fetch(
        "SELECT meta ->> 'batch_id', args ->> 'kind' FROM oban_jobs WHERE worker = 'benchmarks.batches.callback'"
    )
    times = Counter(tuple(row) for row in found)
    of_kinds = Counter(kind for _, kind in times)
    twice = sum(count > 1 for count in times.values())
    unread = await place.raw.fetchval("SELECT count(*) FROM oban_news")
    print(
        f"{batches} x {jobs} on {connections} connections in {spent:.1f} s: "
        + ", ".join(f"{kind} {of_kinds[kind]} of {batches}" for kind in KINDS)
        + f", twice {twice}, unread news {unread}"
    )
    return not twice and not unread and all(of_kinds[kind] == batches for kind in KINDS)


async def main(batches: int, jobs: int, connections: int, runs: int) -> int:
    async with setting() as place:
        good = [await run(place, batches, jobs, connections) for _ in range(runs)]
    return 0 if all(good) else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=300)
    parser.add_argument("--jobs", type=int, default=40, help="of each batch")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    sys.exit(asyncio.run(main(given.batches, given.jobs, given.connections, given.runs)))
