"""The yardstick: what somebody who knows PostgreSQL would write by hand on asyncpg, and nothing more.

Strict: fetch as many jobs as may run at once, run them, acknowledge them in one statement, repeat.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

FETCH = """
UPDATE oban_jobs SET state = 'executing', attempt = attempt + 1, attempted_at = timezone('UTC', now()),
       attempted_by = $3
 WHERE id = ANY(ARRAY(SELECT id FROM oban_jobs WHERE state = 'available' AND queue = $1
                       ORDER BY priority, scheduled_at, id LIMIT $2 FOR UPDATE SKIP LOCKED))
RETURNING id, worker, args, attempt"""

ACK = """
UPDATE oban_jobs j SET state = 'completed', completed_at = timezone('UTC', now())
  FROM unnest($1::bigint[], $2::smallint[]) a (id, attempt)
 WHERE j.id = a.id AND j.state::text = 'executing' AND j.attempt = a.attempt"""

INSERT = "INSERT INTO oban_jobs (worker, queue, args) VALUES ($1, $2, $3) RETURNING id"

INSERT_MANY = """
INSERT INTO oban_jobs (worker, queue, args, priority, max_attempts)
SELECT worker, queue, args::jsonb, priority, max_attempts
  FROM unnest($1::text[], $2::text[], $3::text[], $4::smallint[], $5::smallint[])
       WITH ORDINALITY u (worker, queue, args, priority, max_attempts, place) ORDER BY place
RETURNING id"""

CHUNK = 5_000


async def connect(url: str) -> asyncpg.Connection[asyncpg.Record]:
    """A plain connection, free to use its cached plans."""
    return await asyncpg.connect(url.replace("+asyncpg", ""))


async def drain(
    connection: asyncpg.Connection[asyncpg.Record],
    queue: str,
    concurrency: int,
    run: Callable[..., Awaitable[Any]],
) -> int:
    """Run what is in `queue` until nothing comes; how many jobs that were."""
    done = 0
    while rows := await connection.fetch(FETCH, queue, concurrency, ["bench", "loop"]):
        await asyncio.gather(*(run(**json.loads(row["args"])) for row in rows))
        await connection.execute(ACK, [row["id"] for row in rows], [row["attempt"] for row in rows])
        done += len(rows)
    return done


async def insert_many(connection: asyncpg.Connection[asyncpg.Record], worker: str, queue: str, count: int) -> None:
    """`count` jobs in one transaction, in chunks."""
    async with connection.transaction():
        for first in range(0, count, CHUNK):
            size = min(CHUNK, count - first)
            args = [json.dumps({"number": number}) for number in range(first, first + size)]
            await connection.fetch(INSERT_MANY, [worker] * size, [queue] * size, args, [0] * size, [20] * size)


class Listening:
    """Runs single jobs as their notifications come: the yardstick of latency."""

    def __init__(self, url: str, run: Callable[..., Awaitable[Any]]) -> None:
        self._url = url
        self._run = run
        self._wake = asyncio.Event()

    async def __aenter__(self) -> Listening:
        self._listener, self._worker = await connect(self._url), await connect(self._url)
        await self._listener.add_listener("bench", self._notified)
        self._task = asyncio.create_task(self._serve())
        return self

    def _notified(self, *_: object) -> None:
        self._wake.set()

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        await self._listener.close()
        await self._worker.close()

    async def _serve(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await drain(self._worker, "bench", 10, self._run)


def clock() -> float:
    """Seconds that processes of one machine can compare."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)
