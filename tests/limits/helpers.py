"""Nodes with limited queues, in one process but each with its own connections."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from oban_sqla import JobSpec, Oban, Queue
from tests.runtime.helpers import execute, insert, wake
from tests.support import eventually

QUICK: dict[str, Any] = {"shutdown_grace": 1.0, "poll_interval": 0.2}


@asynccontextmanager
async def nodes(url: str, *queues: Queue, **options: Any) -> AsyncGenerator[list[Oban], None]:
    """A node for each of these options of the queue ``default``."""
    async with AsyncExitStack() as stack:
        started: list[Oban] = []
        for number, queue in enumerate(queues):
            engine = create_async_engine(url)
            stack.push_async_callback(engine.dispose)
            given: dict[str, Any] = {"queues": {"default": queue}, **QUICK, **options}
            oban = Oban(engine, node=f"node-{number}", **given)
            started.append(await stack.enter_async_context(oban))
        yield started


async def add(engine: AsyncEngine, specs: Iterable[JobSpec], *obans: Oban) -> list[int]:
    """Commit these jobs and let the nodes look; their ids."""
    ids = await insert(engine, *specs)
    for oban in obans:
        wake(oban, "default")
    return ids


async def count(engine: AsyncEngine, where: str = "true") -> int:
    """How many jobs there are."""
    return int((await execute(engine, f"SELECT count(*) FROM oban_jobs WHERE {where}"))[0][0])


async def suspended(engine: AsyncEngine, where: str = "true", schema: str = "") -> None:
    """Wait until something is suspended: a job that asks for it has begun before."""

    async def written() -> bool:
        return bool(await execute(engine, f"SELECT 1 FROM {schema}oban_rates WHERE until > 0 AND {where}"))

    await eventually(written, timeout=30)


async def all_done(engine: AsyncEngine, timeout: float = 30.0) -> None:
    """Wait until no job is left."""

    async def none_left() -> bool:
        left = await count(engine, "state NOT IN ('completed', 'discarded', 'cancelled')")
        assert not left, f"{left} jobs are left"
        return True

    await eventually(none_left, timeout)


async def worst_window(engine: AsyncEngine, seconds: float, cost: str = "1", by: str = "1") -> int:
    """The most that started in a half-open window of so many seconds, by the times that the fetches gave.

    :param cost: of a job, and `by` what it is counted by, as SQL.
    """
    sql = f"""
        SELECT max(total) FROM (SELECT sum({cost}) OVER (
          PARTITION BY {by} ORDER BY extract(epoch FROM attempted_at)::float8
          RANGE BETWEEN CURRENT ROW AND {seconds - 1e-5} FOLLOWING) AS total
          FROM oban_jobs WHERE attempted_at IS NOT NULL) windows"""
    return int((await execute(engine, sql))[0][0])
