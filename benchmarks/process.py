"""One of two processes that drain a queue: ``python -m benchmarks.process ours|loop URL CONCURRENCY``."""

from __future__ import annotations

import asyncio
import sys

from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks import loop
from benchmarks.setting import noop
from oban_sqla import Oban


async def main(side: str, url: str, concurrency: int) -> None:
    connection = await loop.connect(url)
    oban = Oban(create_async_engine(url), queues={"bench": concurrency}, poll_interval=60)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    if side == "ours":
        await oban.start()
    else:
        await loop.drain(connection, "bench", concurrency, noop)
    await asyncio.sleep(3600)  # until the parent kills it


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
