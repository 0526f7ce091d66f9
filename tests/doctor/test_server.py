"""The server: each condition made on a real one."""

from __future__ import annotations

import os
import time
from types import SimpleNamespace

import pytest
from sqlalchemy import URL, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from oban_sqla import JobSpec, migrations
from oban_sqla.runtime.connections import CONNECTIONS
from tests.doctor.conftest import diagnose, one
from tests.runtime.helpers import execute, insert, load


@pytest.mark.parametrize(("oldest", "newest", "status"), [(99, 100, "problem"), (9, 10, "warning"), (9, 99, "ok")])
async def test_a_version_of_postgresql_that_is_not_supported(
    own_engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch, oldest: int, newest: int, status: str
) -> None:
    monkeypatch.setattr("oban_sqla.insight.doctor.server.OLDEST", oldest)
    monkeypatch.setattr("oban_sqla.insight.doctor.server.NEWEST", newest)
    finding = await one(own_engine, "server_version")
    assert finding.status == status
    assert finding.found.startswith("PostgreSQL 1")


@pytest.mark.parametrize(("ahead", "said"), [(-3.5, "3.5 s behind"), (60.0, "1 min ahead of")])
async def test_a_clock_that_is_wrong(
    own_engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch, ahead: float, said: str
) -> None:
    monkeypatch.setattr("oban_sqla.insight.doctor.server.time", SimpleNamespace(time=lambda: time.time() + ahead))
    finding = await one(own_engine, "clock")
    assert finding.status == "warning"
    assert finding.found == f"this machine's clock is {said} the server's"


async def test_a_role_that_may_only_read(own_engine: AsyncEngine) -> None:
    [[name]] = await execute(own_engine, "SELECT current_database()")
    await execute(own_engine, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    await own_engine.dispose()
    finding = await one(own_engine, "standby")
    assert finding.status == "problem"
    assert finding.found.startswith("default_transaction_read_only is on for the role ")


async def test_few_connections(own_engine: AsyncEngine) -> None:
    [[name]] = await execute(own_engine, "SELECT current_database()")
    await execute(own_engine, f'ALTER DATABASE "{name}" CONNECTION LIMIT 1')
    finding = await one(own_engine, "connections")
    assert finding.status == "warning"
    assert finding.found.endswith("of 1 connections are in use (the limit of the database)")
    assert CONNECTIONS in finding.why


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("statement_timeout", "2s"),
        ("idle_session_timeout", "1h"),
        ("idle_in_transaction_session_timeout", "10s"),
        ("transaction_timeout", "1h"),
    ],
)
async def test_timeouts_that_end_what_the_runtime_does(
    own_engine: AsyncEngine, migrated_database: str, setting: str, value: str
) -> None:
    if not await execute(own_engine, f"SELECT 1 FROM pg_settings WHERE name = '{setting}'"):
        pytest.skip(f"this server has no {setting} yet")
    hurried = create_async_engine(migrated_database, connect_args={"server_settings": {setting: value}})
    try:
        finding = await one(hurried, "timeouts")
        assert finding.status == "warning"
        assert finding.found.startswith(f"{setting} is ")
    finally:
        await hurried.dispose()


async def test_timeouts_that_are_long_enough(own_engine: AsyncEngine, migrated_database: str) -> None:
    settings = {"statement_timeout": "30s", "idle_in_transaction_session_timeout": "10min"}
    engine = create_async_engine(migrated_database, connect_args={"server_settings": settings})
    try:
        assert (await one(engine, "timeouts")).status == "ok"
    finally:
        await engine.dispose()


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_database_that_can_not_store_every_letter(server_url: URL, driver: str) -> None:
    name = f"oban_latin_{os.getpid()}"
    server = create_async_engine(server_url, isolation_level="AUTOCOMMIT")
    url = server_url.set(drivername=f"postgresql+{driver}", database=name)
    engine = create_async_engine(url, **({"client_encoding": "utf8"} if driver == "psycopg" else {}))
    async with server.connect() as connection:
        created = f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'"
        await connection.execute(text(created))
        try:
            finding = await one(engine, "encoding")
            assert (finding.status, finding.found) == ("warning", "the encoding of the database is LATIN1")
            await migrations.migrate(engine)
            [job_id] = await insert(engine, JobSpec("doctor.letters", {"name": "Käthe"}))
            assert (await load(engine, job_id)).args == {"name": "Käthe"}, "with what it advises"
        finally:
            await engine.dispose()
            await connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    await server.dispose()


async def test_an_isolation_in_which_enqueueing_may_fail(own_engine: AsyncEngine, migrated_database: str) -> None:
    settings = {"server_settings": {"default_transaction_isolation": "serializable"}}
    engine = create_async_engine(migrated_database, connect_args=settings)
    try:
        finding = await one(engine, "isolation")
        assert (finding.status, finding.found) == ("warning", "default_transaction_isolation is 'serializable'")
    finally:
        await engine.dispose()


@pytest.mark.parametrize(("status", "threshold"), [("warning", "FILLING"), ("problem", "FULL")])
async def test_notifications_that_no_session_takes(
    own_engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch, status: str, threshold: str
) -> None:
    async with own_engine.connect() as deaf:
        await deaf.execute(text("LISTEN nothing"))
        await deaf.commit()
        await deaf.execute(text("SELECT 1"))  # in a transaction, in which nothing is delivered
        for number in range(4):
            await execute(own_engine, f"SELECT pg_notify('nothing', repeat('{number}', 7900))")
        [[usage]] = await execute(own_engine, "SELECT pg_notification_queue_usage()")
        assert usage > 0
        monkeypatch.setattr(f"oban_sqla.insight.doctor.server.NOTIFICATIONS_{threshold}", usage / 2)
        assert [finding.status for finding in await diagnose(own_engine, "notifications")] == [status]
