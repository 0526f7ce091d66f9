"""A node as a process of its own: ``python -m tests.groups.node URL NAME``. What its jobs do is in ``effects``."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from oban_sqla import Chunk, Heartbeat, Job, Oban, Queue, job


@job(name="groups.chunked", chunk=Chunk(size=20, timeout=0.1))
async def chunked(jobs: list[Job], session: AsyncSession) -> Mapping[Job, object] | None:
    """Write a row for each job; slowly, so that a kill meets it."""
    pid = os.getpid()
    rows = [{"n": one.args["n"], "pid": pid} for one in jobs]
    await session.execute(text("INSERT INTO effects (n, pid) VALUES (:n, :pid)"), rows)
    await asyncio.sleep(0.05)
    return None


async def main(url: str, name: str) -> None:
    engine = create_async_engine(url)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    quick = Heartbeat(interval=0.25, stale_after=0.75)
    async with Oban(
        engine,
        queues={"default": Queue(limit=2)},
        node=name,
        heartbeat=quick,
        lifeline_interval=0.25,
        leader_ttl=1.5,
        sessionmaker=async_sessionmaker(engine),
    ):
        print("ready", flush=True)
        await stop.wait()
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
