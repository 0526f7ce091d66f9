"""``python -m benchmarks.held_transaction [JOBS]``: what a transaction that stays open costs the fetches after it.

While it is open, nothing that was fetched since can be vacuumed: after five minutes at 2,000 jobs a second the fetch
index holds 600,000 dead entries before the first live one. The goal: a fetch of 10 in at most three times what it takes
without. Printed for a fetch from the front, for one that goes on from the last job, and for the mixture that a busy
producer sends (from the front once a second).
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import asyncpg

from benchmarks.loop import connect
from benchmarks.setting import Setting, median, setting
from oban_sqla.runtime.cursor import Cursor, Place
from oban_sqla.runtime.lanes.settings import SETTINGS
from oban_sqla.statements.fetch import fetch, fetch_onward
from oban_sqla.statements.statement import Compiled

GOAL = 3.0
LIMIT = 10
SECONDS = 3.0
AVAILABLE = 100_000
INSERT = """
INSERT INTO oban_jobs (worker, queue, scheduled_at)
SELECT 'bench.noop', 'bench', timestamp '2024-01-01' + n * interval '1 ms' FROM generate_series($1::int, $2::int) n
"""
# Set-based, because only the dead entries matter here: each job is fetched, and completed.
WORK = """
WITH next AS (
  SELECT id FROM oban_jobs WHERE state = 'available' AND queue = 'bench'
   ORDER BY priority, scheduled_at, id LIMIT $1::int)
UPDATE oban_jobs SET state = 'completed', completed_at = now() FROM next WHERE oban_jobs.id = next.id
"""
Row = asyncpg.Record


def _front(_last: Place | None) -> None:
    return None


def _same(last: Place | None) -> Place | None:
    return last


class Fetching:
    """Fetches as a producer does, on a connection like a lane."""

    def __init__(self, place: Setting, connection: asyncpg.Connection[Row]) -> None:
        dialect = place.engine.dialect
        self.connection = connection
        self.front: Compiled = fetch.compiled(dialect)
        self.onward: Compiled = fetch_onward.compiled(dialect)

    async def once(self, since: Place | None) -> Place | None:
        """Fetch, and say where the last job stands."""
        given: dict[str, Any] = {"queue": "bench", "limit": LIMIT, "attempted_by": ["bench", "x"], "unknown": []}
        if since is not None:
            given |= {"priority": since[0], "scheduled_at": since[1], "id": since[2]}
        compiled = self.front if since is None else self.onward
        rows = await self.connection.fetch(compiled.sql, *compiled.values(given))
        assert len(rows) == LIMIT, "the queue must not run short here"
        last: tuple[int, datetime, int] = max((row["priority"], row["scheduled_at"], row["id"]) for row in rows)
        return last

    async def from_the_front(self) -> float:
        """Milliseconds for one fetch, in the median."""
        return await self._median(_front)

    async def from_the_last(self) -> float:
        return await self._median(_same)

    async def as_a_producer(self) -> float:
        """Milliseconds for one fetch on the average of some seconds, with the policy of the runtime."""
        cursor = Cursor()
        count, began = 0, time.monotonic()
        while (now := time.monotonic()) < began + SECONDS and count * LIMIT < AVAILABLE / 3:
            since = cursor.place
            cursor.read(since, await self.once(since), now)
            count += 1
        return (time.monotonic() - began) / count * 1000

    async def _median(self, place: Callable[[Place | None], Place | None]) -> float:
        since = await self.once(None)
        taken: list[float] = []
        for _ in range(30):
            began = time.perf_counter()
            since = await self.once(place(since))
            taken.append((time.perf_counter() - began) * 1000)
        return median(taken)


async def measure(place: Setting, dead: int) -> tuple[float, float, float]:
    """The three figures with `dead` jobs done while a transaction was open."""
    await place.empty()
    await place.raw.execute("VACUUM ANALYZE oban_jobs")
    holder = await connect(place.url)
    held = holder.transaction(isolation="repeatable_read")
    await held.start()
    await holder.fetchval("SELECT count(*) FROM pg_class")
    await place.raw.execute(INSERT, 1, dead + AVAILABLE)
    if dead:
        await place.raw.execute(WORK, dead)
    connection = await connect(place.url)
    for setting_ in SETTINGS:
        await connection.execute(setting_)
    try:
        fetching = Fetching(place, connection)
        return await fetching.from_the_front(), await fetching.from_the_last(), await fetching.as_a_producer()
    finally:
        await connection.close()
        await held.rollback()
        await holder.close()


async def main(dead: int) -> int:
    async with setting() as place:
        clean = await measure(place, 0)
        held = await measure(place, dead)
    print(f"{'fetch of 10, ms':<36}{'nothing held':>14}{f'{dead:,} dead':>16}{'ratio':>9}")
    for name, before, after in zip(
        ("from the front", "from the last job on", "as a busy producer does, on average"), clean, held, strict=True
    ):
        print(f"{name:<36}{before:>14.2f}{after:>16.2f}{after / before:>9.1f}")
    ratio = held[2] / clean[2]
    print(f"goal: at most {GOAL:g} times; a busy producer: {ratio:.2f}")
    return 0 if ratio <= GOAL else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 600_000)))
