"""``python -m benchmarks.soak [JOBS]``: one node works a million jobs; memory and connections after every 100,000.

Flat means: after the first 100,000 the resident memory grows by no more than a tenth. Then 300,000 specs are flushed
from a generator, in a process of its own, with the peak of its memory.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from benchmarks import setting as bench
from benchmarks.setting import Setting, noop, setting
from oban_sqla import JobSpec, Oban, Queue, enqueue

STEP = 100_000
SPECS = 300_000
INSERT = """
INSERT INTO oban_jobs (worker, queue, args)
SELECT 'bench.noop', 'bench', jsonb_build_object('number', n) FROM generate_series(1, $1::int) n
"""
EXECUTING = "SELECT 1 FROM oban_jobs WHERE state = 'executing' LIMIT 1"
CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"


def resident() -> float:
    """MiB of this process in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


async def soak(place: Setting, jobs: int) -> bool:
    """Work `jobs` jobs; whether memory and connections stayed as they were after the first step."""
    await place.empty()
    bench.count = 0
    flat: list[float] = []
    connections: list[int] = []
    async with Oban(place.engine, queues={"bench": Queue(limit=100)}) as oban:
        for done in range(STEP, jobs + 1, STEP):
            began = time.perf_counter()
            await place.raw.execute(INSERT, STEP)
            assert oban._node is not None
            oban._node.inserted(["bench"])
            while bench.count < done:
                await asyncio.sleep(0.05)
            while await place.raw.fetchval(EXECUTING):
                await asyncio.sleep(0.05)
            took = time.perf_counter() - began
            gc.collect()
            flat.append(resident())
            connections.append(await place.raw.fetchval(CONNECTIONS))
            print(
                f"{done:>9,} jobs  {flat[-1]:7.1f} MiB  {sys.getallocatedblocks():>9,} blocks  "
                f"{connections[-1]} connections  {STEP / took:,.0f} jobs/s with their insertion",
                flush=True,
            )
            await place.raw.execute("DELETE FROM oban_jobs WHERE state = 'completed'")
    return max(flat) <= flat[0] * 1.1 and len(set(connections)) == 1


async def flush(url: str) -> None:
    """Enqueue the specs from a generator and print what that needed."""
    engine = create_async_engine(url)

    def specs() -> Iterator[JobSpec]:
        for number in range(SPECS):
            yield noop.new(number=number)

    before = resident()
    began = time.perf_counter()
    async with AsyncSession(engine) as session:
        written = await enqueue(session, specs())
        await session.commit()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
    took = time.perf_counter() - began
    kept = resident() - before
    print(
        f"{len(written):,} specs flushed in {took:.1f} s; at the peak {peak:.0f} MiB more than before, "
        f"of which {kept:.0f} MiB are the {len(written):,} specs that enqueue returns"
    )
    await engine.dispose()


async def main(jobs: int) -> int:
    async with setting() as place:
        flat = await soak(place, jobs)
        print("memory is flat and the connections are constant" if flat else "NOT flat")
        await place.empty()
        command = [sys.executable, "-m", "benchmarks.soak", "flush", place.url]
        flushed = await asyncio.to_thread(subprocess.run, command, check=False)
    return 0 if flat and flushed.returncode == 0 else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["flush"]:
        asyncio.run(flush(sys.argv[2]))
    else:
        sys.exit(asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)))
