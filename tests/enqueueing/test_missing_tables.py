"""A program whose database has no tables of the queue learns from the error what creates them."""

from __future__ import annotations

import pytest
from sqlalchemy import literal, make_url, select, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from oban_sqla import Job, JobSpec, Oban, enqueue, enqueue_from, job, migrations


@job(name="tests.missing_tables.greet")
async def greet(name: str) -> None: ...


def engine_on(url: str, driver: str) -> AsyncEngine:
    return create_async_engine(make_url(url).set(drivername=f"postgresql+{driver}"))


def notes_of(refused: pytest.ExceptionInfo[ProgrammingError]) -> str:
    return "\n".join(getattr(refused.value, "__notes__", []))


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_every_error_of_missing_tables_says_what_creates_them(empty_database: str, driver: str) -> None:
    engine = engine_on(empty_database, driver)
    try:
        async with AsyncSession(engine) as session:
            session.add(greet.new("Ada"))
            with pytest.raises(ProgrammingError) as added:
                await session.commit()
        async with AsyncSession(engine) as session:
            with pytest.raises(ProgrammingError) as called:
                await enqueue(session, [JobSpec("greet")])
        names = select(literal("Ada").label("name"))
        async with AsyncSession(engine) as session:
            with pytest.raises(ProgrammingError) as queried:
                await enqueue_from(session, greet, names)
        async with AsyncSession(engine) as session:
            with pytest.raises(ProgrammingError) as read:
                await session.scalars(select(Job))
        with pytest.raises(ProgrammingError) as paused:
            await Oban(engine).pause_queue("default")
        for refused in (added, called, queried, read, paused):
            assert "run `oban-sqla migrate`" in notes_of(refused)
            assert "use_schema" in notes_of(refused)
    finally:
        await engine.dispose()


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_an_error_of_older_tables_says_it_and_one_of_the_users_query_does_not(
    empty_database: str, driver: str
) -> None:
    engine = engine_on(empty_database, driver)
    try:
        await migrations.migrate(engine)
        async with AsyncSession(engine) as session:
            with pytest.raises(ProgrammingError, match="nowhere") as queried:
                await enqueue_from(session, greet, select(literal("Ada").label("name")).select_from(text("nowhere")))
            assert notes_of(queried) == ""
        async with engine.begin() as connection:
            await connection.execute(text("ALTER TABLE oban_jobs DROP COLUMN partition_key CASCADE"))
        async with AsyncSession(engine) as session:
            session.add(greet.new("Ada"))
            with pytest.raises(ProgrammingError) as added:
                await session.commit()
            assert "older than this package" in notes_of(added)
    finally:
        await engine.dispose()
