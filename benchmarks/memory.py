"""A node in a process that has just begun: ``python -m benchmarks.memory URL JOBS``.

Works the queue `bench` until so many jobs have run, and prints as JSON how many MB the process has in memory then.
"""

from __future__ import annotations

import asyncio
import json
import sys

from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks.soak import resident
from oban_sqla import Oban, job


async def main(url: str, jobs: int) -> dict[str, float]:
    done = 0
    last = asyncio.Event()

    @job(name="bench.counted", queue="bench")
    async def counted(number: int) -> None:
        nonlocal done
        done += 1
        if done == jobs:
            last.set()

    engine = create_async_engine(url)
    async with Oban(engine, queues={"bench": 50}):
        await last.wait()
        megabytes = resident() * 2**20 / 1e6
    await engine.dispose()
    return {"resident": megabytes}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], int(sys.argv[2])))))
