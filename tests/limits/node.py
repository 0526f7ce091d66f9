"""A node as a process of its own, whose jobs count each other in the database.

``python -m tests.limits.node URL NAME QUEUE``, QUEUE a JSON object with the options of the queue ``default``. Each job
holds an advisory lock while it runs, which the server releases when the process dies, and writes how many hold one.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from oban_sqla import Heartbeat, Oban, Queue, current_job, job

COUNTED = "CREATE TABLE counted (job_id bigint, key int, running int, pid int)"
CLASS = 77_000
"""The first key of the locks is this and the job's key."""

HOLD = text("SELECT pg_advisory_lock(:key, :id)")
COUNT = text(
    "INSERT INTO counted SELECT :id, :key, count(*), :pid FROM pg_locks "
    "WHERE locktype = 'advisory' AND classid = :class AND database = (SELECT oid FROM pg_database "
    "WHERE datname = current_database())"
)
LEAVE = text("SELECT pg_advisory_unlock(:key, :id)")

connection: AsyncConnection
turn: asyncio.Lock


@job(name="limits.counted")
async def counted(key: int = 0, seconds: float = 0.0) -> None:
    """Count how many of this key run at once."""
    own = {"key": CLASS + key, "id": current_job().id}
    async with turn:  # one connection for all: a lock is one of a session
        await connection.execute(HOLD, own)
        await connection.execute(COUNT, own | {"class": CLASS + key, "key": key, "pid": os.getpid()})
    await asyncio.sleep(seconds)
    async with turn:
        await connection.execute(LEAVE, own)


async def main(url: str, name: str, queue: str) -> None:
    global connection, turn
    engine = create_async_engine(url, isolation_level="AUTOCOMMIT")
    turn = asyncio.Lock()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    options = Queue(limit=20).with_limits(json.loads(queue))
    quick = Heartbeat(interval=0.25, stale_after=0.75)
    async with (
        engine.connect() as connection,
        Oban(engine, queues={"default": options}, node=name, heartbeat=quick, lifeline_interval=0.25, leader_ttl=1.5),
    ):
        print("ready", flush=True)
        await stop.wait()
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
