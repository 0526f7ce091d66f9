"""Indexes that are too large are rebuilt beside jobs that go on, and an interrupted call leaves nothing for ever."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from click.testing import CliRunner
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from oban_sqla import InvalidOption, SchemaOutdated, migrations
from oban_sqla.cli import main
from oban_sqla.migrations import sizes
from tests.migrations.test_alembic import psycopg
from tests.runtime.helpers import execute, execute_outside
from tests.support import eventually

FILL = "INSERT INTO oban_jobs (worker) SELECT 'w' FROM generate_series(1, 20000)"
LARGE = ["oban_jobs_fetch_index", "oban_jobs_pkey", "oban_jobs_ring_index"]
NAMES = "SELECT string_agg(indexname, ',' ORDER BY indexname) FROM pg_indexes WHERE tablename = 'oban_jobs'"
INVALID = "SELECT count(*) FROM pg_index WHERE indrelid = 'oban_jobs'::regclass AND NOT indisvalid"
AT_WORK = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'REINDEX%' AND state = 'active'"
WAITS = f"{AT_WORK} AND wait_event_type = 'Lock'"


@pytest.fixture(params=["asyncpg", "psycopg"])
async def swollen(
    request: pytest.FixtureRequest, empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[AsyncEngine]:
    """A database whose jobs were many, and of which one is left."""
    monkeypatch.setattr(sizes, "WASTE", 100_000)
    url = empty_database if request.param == "asyncpg" else psycopg(empty_database)
    engine = create_async_engine(url)
    await migrations.migrate(engine)
    for statement in (FILL, "DELETE FROM oban_jobs WHERE id < 20000", "VACUUM ANALYZE oban_jobs"):
        await execute_outside(engine, statement)
    yield engine
    await engine.dispose()


async def value(engine: AsyncEngine, sql: str) -> object:
    [[found]] = await execute(engine, sql)
    return found


async def test_what_is_too_large_is_rebuilt_and_nothing_else(swollen: AsyncEngine) -> None:
    rebuilt = await migrations.reindex(swollen)
    assert [one.name for one in rebuilt] == LARGE
    for one in rebuilt:
        assert one.before > 20 * one.after
        assert await value(swollen, f"SELECT pg_relation_size('{one.name}')") == one.after
    assert await migrations.reindex(swollen) == []
    names = await value(swollen, NAMES)
    assert ",".join(one.name for one in await migrations.reindex(swollen, every=True)) == names


async def test_jobs_go_on_while_it_waits_and_what_a_cancelled_call_has_left_is_removed(swollen: AsyncEngine) -> None:
    async with swollen.connect() as reader:
        await reader.execution_options(isolation_level="REPEATABLE READ")  # what is new may not be used before it ends
        await reader.execute(text("SELECT 1 FROM oban_jobs"))
        call = asyncio.create_task(migrations.reindex(swollen))

        async def waits() -> bool:
            return await value(swollen, WAITS) == 1

        await eventually(waits)
        await asyncio.wait_for(execute_outside(swollen, "INSERT INTO oban_jobs (worker) VALUES ('w')"), 5)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

        async def has_ended() -> bool:
            return await value(swollen, AT_WORK) == 0

        await eventually(has_ended)
    assert await value(swollen, INVALID) == 1
    assert [one.name for one in await migrations.reindex(swollen)] == LARGE
    assert await value(swollen, INVALID) == 0
    assert await value(swollen, "SELECT count(*) FROM pg_class WHERE relname ~ '_cc(new|old)'") == 0


async def test_an_invalid_index_is_rebuilt(swollen: AsyncEngine) -> None:
    await migrations.reindex(swollen)
    await execute_outside(swollen, 'CREATE INDEX "By Worker" ON oban_jobs (worker)')
    await execute_outside(
        swollen, """UPDATE pg_index SET indisvalid = false WHERE indexrelid = '"By Worker"'::regclass"""
    )
    assert [one.name for one in await migrations.reindex(swollen)] == ["By Worker"]
    assert await value(swollen, INVALID) == 0


async def test_two_calls_at_once_are_made_one_after_the_other(swollen: AsyncEngine) -> None:
    both = await asyncio.gather(migrations.reindex(swollen), migrations.reindex(swollen))
    assert sorted(len(rebuilt) for rebuilt in both) == [0, len(LARGE)]


async def test_reindex_refuses_a_url_and_a_schema_without_tables(swollen: AsyncEngine) -> None:
    with pytest.raises(InvalidOption, match=r"^reindex: expected an AsyncEngine, got str; make one with "):
        await migrations.reindex("postgresql://localhost")  # type: ignore[arg-type]
    with pytest.raises(SchemaOutdated, match=r"^no oban_sqla tables found in the schema 'nowhere'; create them first"):
        await migrations.reindex(swollen, "nowhere")


async def test_a_role_that_does_not_own_the_tables_is_told_so(swollen: AsyncEngine, empty_database: str) -> None:
    role = f"reader_of_{make_url(empty_database).database}"
    await execute_outside(swollen, f"CREATE ROLE {role}")
    settings = {"role": role, "lock_timeout": "7s"}
    reader = create_async_engine(empty_database, connect_args={"server_settings": settings})
    try:
        with pytest.raises(DBAPIError, match=r"must be owner of index oban_jobs_"):
            await migrations.reindex(reader, every=True)
        async with reader.connect() as one, reader.connect() as other:
            for connection in (one, other):
                assert await connection.scalar(text("SHOW lock_timeout")) == "7s"
    finally:
        await reader.dispose()
        await execute_outside(swollen, f"DROP ROLE {role}")


async def test_the_command_says_what_it_did(swollen: AsyncEngine, empty_database: str) -> None:
    def command(*more: str) -> str:
        done = CliRunner().invoke(main, ["reindex", "--database-url", empty_database, *more])
        assert done.exit_code == 0, done.output
        return done.output

    lines = (await asyncio.to_thread(command)).splitlines()
    assert [line.partition(" kB, before ")[0] for line in lines] == [f"{name}: 16" for name in LARGE]
    assert await asyncio.to_thread(command) == "no index is too large\n"
    found = json.loads(await asyncio.to_thread(command, "--all", "--json"))
    assert {"index": "oban_jobs_pkey", "before": 16_384, "after": 16_384} in found
