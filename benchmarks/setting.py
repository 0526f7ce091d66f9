"""Where benchmarks run: a server of their own, or the one that is named."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine

from benchmarks.loop import connect
from oban_sqla import embedded, job, migrations


@dataclass
class Setting:
    """A migrated database, our engine on it, and a plain connection of the yardstick's."""

    url: str
    engine: AsyncEngine
    raw: asyncpg.Connection[asyncpg.Record]

    def __post_init__(self) -> None:
        self.session = async_sessionmaker(self.engine, expire_on_commit=False)

    async def empty(self) -> None:
        """An empty table, without what the last measurement left in the server."""
        await self.raw.execute("TRUNCATE oban_jobs")
        await self.raw.execute("CHECKPOINT")

    async def committed(self) -> int:
        """How many transactions this database has committed."""
        await self.raw.execute("SELECT pg_stat_clear_snapshot()")
        return int(
            await self.raw.fetchval("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
        )


@asynccontextmanager
async def setting() -> AsyncGenerator[Setting]:
    """``OBAN_BENCH_DATABASE_URL``, whose oban_jobs will be emptied; else an embedded server with PostgreSQL's defaults,
    fsync included.
    """
    named = os.environ.get("OBAN_BENCH_DATABASE_URL")
    server = None if named else embedded.start()
    url = named or server.url  # type: ignore[union-attr]
    engine = create_async_engine(url, pool_size=20)
    try:
        await migrations.migrate(engine)
        raw = await connect(url)
        yield Setting(url, engine, raw)
        await raw.close()
    finally:
        await engine.dispose()
        if server is not None:
            server.stop()


started: list[float] = []
count: int = 0


@job(name="bench.noop", queue="bench")
async def noop(number: int) -> None:
    """Does nothing; counts."""
    global count
    count += 1


async def timed(work: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """Seconds on the clock, and seconds of this process's CPU, that `work` takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    await work()
    return time.perf_counter() - wall, time.process_time() - cpu


def median(values: list[float]) -> float:
    return statistics.median(values)
