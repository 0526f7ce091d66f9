"""A node in a process that has just begun: ``python -m benchmarks.start [URL]``.

Prints as JSON how many milliseconds it takes to import what an application imports anyway (without a URL), or to import
oban_sqla, to start a node, and to come from there to the first line of a job that waits.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

BEGAN = time.perf_counter()


def _ms(since: float) -> float:
    return (time.perf_counter() - since) * 1e3


def beside() -> dict[str, float]:
    """Import what a program with an ``AsyncSession`` and models of pydantic has imported."""
    import asyncpg  # noqa: F401
    import pydantic  # noqa: F401
    import sqlalchemy.ext.asyncio  # noqa: F401

    return {"import": _ms(BEGAN)}


async def ours(url: str) -> dict[str, float]:
    """Import oban_sqla, start a node, and wait for a job of the queue `bench`."""
    from oban_sqla import Oban, job

    imported = _ms(BEGAN)
    from sqlalchemy.ext.asyncio import create_async_engine

    began: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    @job(name="bench.first", queue="bench")
    async def first() -> None:
        began.set_result(_ms(before))

    engine = create_async_engine(url)
    oban = Oban(engine, queues={"bench": 10})
    before = time.perf_counter()
    await oban.start()
    started = _ms(before)
    figures = {"import": imported, "start": started, "first": await began}
    await oban.stop()
    await engine.dispose()
    return figures


if __name__ == "__main__":
    print(json.dumps(asyncio.run(ours(sys.argv[1])) if sys.argv[1:] else beside()))
