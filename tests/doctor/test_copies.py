"""Tables that are a copy: replicated from another database, or restored without their sequences."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from oban_sqla import Oban
from tests.doctor.conftest import one
from tests.runtime.helpers import execute


@pytest.fixture
async def subscriber(own_engine: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    """A database whose jobs table a subscription writes. There is no publisher, and no worker that looks for it."""
    async with own_engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(
            text(
                "CREATE SUBSCRIPTION mirror CONNECTION 'dbname=none' PUBLICATION jobs "
                "WITH (connect = false, slot_name = NONE, enabled = false)"
            )
        )
        await connection.execute(
            text(
                "INSERT INTO pg_subscription_rel (srsubid, srrelid, srsubstate) "
                "SELECT oid, 'oban_jobs'::regclass, 'r' FROM pg_subscription WHERE subname = 'mirror'"
            )
        )
        await connection.execute(text("UPDATE pg_subscription SET subenabled = true WHERE subname = 'mirror'"))
        yield own_engine
        await connection.execute(text("UPDATE pg_subscription SET subenabled = false WHERE subname = 'mirror'"))
        await connection.execute(text("DROP SUBSCRIPTION mirror"))


async def test_jobs_that_a_subscription_writes_are_a_problem(subscriber: AsyncEngine) -> None:
    finding = await one(subscriber, "replication")
    assert finding.status == "problem"
    assert finding.found.endswith("it is written by the subscription mirror")


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_node_on_a_subscriber_says_so_at_its_start(
    subscriber: AsyncEngine, driver: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine = create_async_engine(subscriber.url.set(drivername=f"postgresql+{driver}"))
    with caplog.at_level(logging.WARNING, "oban_sqla"):
        async with Oban(engine, queues={}):
            pass
    await engine.dispose()
    assert "a copy that the subscription mirror writes" in caplog.text


@pytest.mark.parametrize("table", ["oban_jobs", "oban_workflows"])
async def test_a_table_restored_without_its_sequence_is_mended_by_the_advice(
    own_engine: AsyncEngine, table: str
) -> None:
    one_row = {
        "oban_jobs": "INSERT INTO oban_jobs (worker) VALUES ('some.worker')",
        "oban_workflows": "INSERT INTO oban_workflows (name) VALUES ('flow')",
    }[table]
    await execute(own_engine, one_row)
    assert (await one(own_engine, "sequences")).status == "ok"
    await execute(own_engine, f"ALTER SEQUENCE {table}_id_seq RESTART")
    finding = await one(own_engine, "sequences")
    assert (finding.status, finding.found) == ("problem", f"{table}_id_seq was at 0, and {table} has a row 1 already")
    with pytest.raises(DBAPIError, match="duplicate key"):
        await execute(own_engine, one_row)
    await execute(own_engine, f"ALTER SEQUENCE {table}_id_seq RESTART")
    await execute(own_engine, finding.advice)
    await execute(own_engine, one_row)
    assert (await one(own_engine, "sequences")).status == "ok"
