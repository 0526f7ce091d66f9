"""Engines of an isolation level that suits other programs: what we do ourselves is READ COMMITTED."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from oban_sqla import InvalidOption, Oban, Queue, RateLimit, job
from oban_sqla.doctor import examine
from oban_sqla.runtime.sessions import Sessions
from tests.control.jobs import noop
from tests.runtime.helpers import execute, insert, load
from tests.support import eventually

WAITING = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


@job(queue="isolation")
async def writes(session: AsyncSession) -> None: ...


@job(queue="isolation_plain")
def writes_plain(session: Session) -> None: ...


@pytest.fixture(params=["asyncpg REPEATABLE READ", "psycopg REPEATABLE READ", "asyncpg AUTOCOMMIT"])
async def other(request: pytest.FixtureRequest, database_url: str, clean_tables: None) -> AsyncIterator[AsyncEngine]:
    """An engine of the user's with a level of its own."""
    driver, _, level = request.param.partition(" ")
    url = make_url(database_url).set(drivername=f"postgresql+{driver}")
    engine = create_async_engine(url, isolation_level=level)
    yield engine
    await engine.dispose()


def locked(engine: AsyncEngine) -> AbstractAsyncContextManager[AsyncConnection]:
    return engine.execution_options(isolation_level="READ COMMITTED").connect()


async def is_waiting(engine: AsyncEngine, transactions: int = 1) -> bool:
    return len(await execute(engine, WAITING)) == transactions


async def test_a_change_that_waited_for_another_one_is_made(other: AsyncEngine) -> None:
    [job_id] = await insert(other, noop.options(schedule_in=60).new())
    async with locked(other) as holder:
        await holder.execute(text("UPDATE oban_jobs SET priority = 1 WHERE id = :id"), {"id": job_id})
        cancelling = asyncio.create_task(Oban(other).cancel(job_id))
        await eventually(lambda: is_waiting(other))
        await holder.commit()
        assert await cancelling == 1
    assert (await load(other, job_id)).state == "cancelled"


async def test_a_rate_that_was_waited_for_is_counted(other: AsyncEngine) -> None:
    limiter = Oban(other, queues={"media": Queue(rate_limit=RateLimit(1, 60))}).limiter("media")
    assert await limiter.available() == 1
    async with locked(other) as holder:
        await holder.execute(text("LOCK oban_rates"))
        asked = [asyncio.create_task(limiter.consume()) for _ in range(2)]
        await eventually(lambda: is_waiting(other, 2))
        await holder.rollback()
        assert sorted(await asyncio.gather(*asked)) == [False, True]


async def test_the_doctor_examines_all(other: AsyncEngine) -> None:
    assert [finding for finding in await examine(other) if finding.status == "skipped"] == []


async def test_why_says_who_holds_the_row(other: AsyncEngine) -> None:
    [job_id] = await insert(other, noop.new())
    async with locked(other) as holder, Oban(other, queues={"elsewhere": 1}) as oban:
        await holder.execute(text("SELECT 1 FROM oban_jobs WHERE id = :id FOR KEY SHARE"), {"id": job_id})
        async with locked(other) as second:  # of two holders the row itself names neither
            await second.execute(text("SELECT 1 FROM oban_jobs WHERE id = :id FOR KEY SHARE"), {"id": job_id})
            assert "locked" in [reason.code for reason in (await oban.why(job_id)).reasons]


async def test_a_job_with_a_session_that_commits_each_statement_is_refused_at_the_start(database_url: str) -> None:
    engine = create_async_engine(database_url, isolation_level="AUTOCOMMIT")
    plain = create_engine(make_url(database_url).set(drivername="postgresql+psycopg"))
    makers: list[Any] = [sessionmaker(plain.execution_options(isolation_level="AUTOCOMMIT"))]
    for queue, name in (("isolation", "writes"), ("isolation_plain", "writes_plain")):
        with pytest.raises(InvalidOption, match=rf"test_isolation\.{name}: the engine of its session has .*AUTOCOMMIT"):
            await Oban(engine, queues={queue: 1}, sessionmaker=makers).start()
    mended = async_sessionmaker(engine.execution_options(isolation_level="READ COMMITTED"))
    async with Oban(engine, queues={"isolation": 1}, sessionmaker=mended):
        pass
    await engine.dispose()


async def test_a_session_that_turns_out_to_commit_each_statement_begins_nothing(engine: AsyncEngine) -> None:
    maker = async_sessionmaker(engine)
    session = await Sessions(makers=[maker], blocking=None).open(AsyncSession)  # type: ignore[arg-type]
    assert isinstance(session, AsyncSession)
    with pytest.raises(InvalidOption, match="AUTOCOMMIT"):
        await session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
    await session.close()


async def test_what_a_job_writes_in_a_transaction_apart_sees_what_it_has_waited_for(other: AsyncEngine) -> None:
    """A node that a job appends to its workflow."""
    sessions = Sessions(makers=[async_sessionmaker(other)], blocking=None)  # type: ignore[arg-type]
    shown = await sessions.separately(lambda session: session.scalar(text("SHOW transaction_isolation")))
    assert shown == "read committed"
