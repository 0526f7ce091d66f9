"""Long jobs on each driver, and behind a transaction pooler, where no notification comes."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import Engine, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import sessionmaker

from oban_sqla import JobLogs, Oban, emit, job, progress
from oban_sqla.durable import sleep, step, sync, wait_for
from tests.cluster.pgbouncer import needed, pgbouncer
from tests.durable import jobs
from tests.integration.node import pooled
from tests.runtime.helpers import execute, finished, insert, until

logger = logging.getLogger("tests.durable.ways")


@job(name="ways.coroutine", queue="durable", recorded=True)
async def coroutine(number: int) -> list[object]:
    first = await step("first", jobs.value, number)
    booked = await step("book", jobs.book, number)
    await progress(1, 2)
    await emit({"booked": booked})
    logger.warning("booked %d", booked)
    await sleep(0.1)
    return [first, booked, await wait_for("go", live=0)]


@job(name="ways.plain", queue="durable", recorded=True)
def plain(number: int) -> list[object]:
    booked = sync.step("book", jobs.book_here, number)
    progress(1, 2)
    emit({"booked": booked})
    logger.warning("booked %d", booked)
    sync.sleep(0.1)
    return [booked, sync.wait_for("go", live=0)]


@asynccontextmanager
async def reached(url: str, driver: str, way: str) -> AsyncGenerator[AsyncEngine]:
    if way == "direct":
        engine = create_async_engine(make_url(url).set(drivername=f"postgresql+{driver}"))
        yield engine
        await engine.dispose()
        return
    async with pgbouncer(url) as address:
        address = address.set(drivername=f"postgresql+{driver}")
        engine = create_async_engine(address, connect_args=pooled(str(address)))
        yield engine
        await engine.dispose()


@pytest.mark.parametrize(
    ("driver", "way"),
    [
        ("psycopg", "direct"),
        pytest.param("asyncpg", "pooler", marks=needed),
        pytest.param("psycopg", "pooler", marks=needed),
    ],
)
async def test_a_long_job_does_all_that_it_may(
    engine: AsyncEngine, sync_engine: Engine, effects: None, database_url: str, driver: str, way: str
) -> None:
    async with reached(database_url, driver, way) as through:
        makers = [async_sessionmaker(through, expire_on_commit=False), sessionmaker(sync_engine)]
        options = {"sessionmaker": makers, "poll_interval": 0.1, "job_logs": JobLogs("WARNING")}
        async with Oban(through, {"durable": 10}, **options) as oban:  # type: ignore[arg-type]
            ids = await insert(through, coroutine.new(1), plain.new(1))
            for job_id in ids:
                await until(engine, job_id, lambda job: job.meta.get("waiting") == "go")
                assert await oban.signal(job_id, "go", {"to": job_id})
            done = await finished(engine, ids)
            assert [one.meta["return"][-2:] for one in done] == [[2, {"to": job_id}] for job_id in ids]
            assert [one.attempt for one in done] == [1, 1]
            async with AsyncSession(engine):
                assert [one.progress is not None and one.progress.fraction for one in done] == [0.5, 0.5]
            for job_id in ids:
                # Between steps a job may do what it likes, as often as it is run: here three times.
                assert [event async for event in oban.stream(job_id)] == [(n, {"booked": 2}) for n in (1, 2, 3)]
                assert [line.message for line in await oban.logs(job_id)] == ["booked 2"] * 3
    effects_now = await execute(engine, "SELECT what FROM durable_effects")
    assert effects_now == [("book 1",), ("book 1",)]
