"""A node in a process that has just begun: ``python -m benchmarks.start URL``.

Prints as JSON how many milliseconds it takes to start a node, and to come from there to the first line of a job that
waits in the queue `bench`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from sqlalchemy.ext.asyncio import create_async_engine

from oban_sqla import Oban, job


async def main(url: str) -> dict[str, float]:
    began: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    @job(name="bench.first", queue="bench")
    async def first(number: int) -> None:
        began.set_result(time.perf_counter())

    engine = create_async_engine(url)
    oban = Oban(engine, queues={"bench": 10})
    before = time.perf_counter()
    await oban.start()
    started = time.perf_counter()
    figures = {"start": (started - before) * 1e3, "first": (await began - before) * 1e3}
    await oban.stop()
    await engine.dispose()
    return figures


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1]))))
