"""A node as a real process: logs each run into a table, so that a test can count them.

``python -m tests.integration.node URL QUEUES [OPTIONS]``, QUEUES like ``default=10``, OPTIONS a JSON object for Oban.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from oban_sqla import Heartbeat, Oban, current_job, job

RUNS = "CREATE TABLE IF NOT EXISTS runs (job_id bigint, attempt int, node text, at timestamptz DEFAULT now())"
INSERT = text("INSERT INTO runs (job_id, attempt, node) VALUES (:job_id, :attempt, :node)")


@job(name="node.logged")
async def logged(session: AsyncSession) -> None:
    """Log the run in the transaction that completes it: an effect that must happen once."""
    await session.execute(INSERT, _run())


@job(name="node.started")
async def started(seconds: float = 0.0) -> None:
    """Log the run in a transaction of its own, as it starts: every start counts, also one that comes to nothing."""
    async with log.begin() as session:
        await session.execute(INSERT, _run())
    await asyncio.sleep(seconds)


@job(name="node.first_hangs")
async def first_hangs(seconds: float = 600.0) -> None:
    """Log the start; the first attempt then takes so long, and logs its end as attempt 0."""
    async with log.begin() as session:
        await session.execute(INSERT, _run())
    if current_job().attempt == 1:
        await asyncio.sleep(seconds)
        async with log.begin() as session:
            await session.execute(INSERT, _run() | {"attempt": 0})


@job(name="node.blocks")
async def blocks(seconds: float) -> None:
    """Log the start, and hold up the whole event loop."""
    async with log.begin() as session:
        await session.execute(INSERT, _run())
    time.sleep(seconds)  # noqa: ASYNC251


@job(name="node.forks")
async def forks() -> None:
    """Fork a child that lives for a minute, print its process id, and hang."""
    if (child := os.fork()) == 0:
        time.sleep(60)  # noqa: ASYNC251
        os._exit(0)
    print(f"child {child}.", flush=True)
    await asyncio.sleep(600)


@job(name="node.kills")
async def kills() -> None:
    """End the process as the kernel does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


log: async_sessionmaker[AsyncSession]


def _run() -> dict[str, object]:
    running = current_job()
    return {"job_id": running.id, "attempt": running.attempt, "node": running.attempted_by[0]}


def pooled(url: str) -> dict[str, Any]:
    """The settings for an engine behind a transaction pooler; documented in docs/poolers.md."""
    if "+psycopg" in url:
        return {"prepare_threshold": None}
    return {"statement_cache_size": 0, "prepared_statement_cache_size": 0, "prepared_statement_name_func": lambda: ""}


async def main(url: str, queues: str, options: str = "{}") -> None:
    global log
    given = json.loads(options)
    engine = create_async_engine(url, pool_size=20, connect_args=pooled(url) if given.pop("pooled", False) else {})
    log = async_sessionmaker(engine)
    if "heartbeat" in given:
        given["heartbeat"] = Heartbeat(**given["heartbeat"])
    limits = {name: int(limit) for name, _, limit in (part.partition("=") for part in queues.split(","))}
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with Oban(engine, queues=limits, sessionmaker=log, **given):
        print("ready", flush=True)
        await stop.wait()
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
