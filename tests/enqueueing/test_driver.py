"""A job of a session is written by the driver's own call, unless somebody watches the statements."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from sqlalchemy import event, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from oban_sqla import Job, JobSpec
from oban_sqla.statements.statement import Statement
from tests.runtime.helpers import execute

SPEC: dict[str, Any] = {"secret": "tulips"}


@pytest.fixture
def by_sqlalchemy(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the statements that SQLAlchemy has executed for us."""
    names: list[str] = []
    before = Statement.execute

    def execute(self: Statement, *args: Any, **given: Any) -> Any:
        names.append(self.name)
        return before(self, *args, **given)

    monkeypatch.setattr(Statement, "execute", execute)
    return names


async def add(engine: AsyncEngine, **options: Any) -> JobSpec:
    async with AsyncSession(engine, expire_on_commit=False) as session:
        session.add(spec := JobSpec("app.driver", SPEC, **options))
        await session.commit()
    return spec


async def test_nothing_else_is_executed_on_asyncpg(engine: AsyncEngine, by_sqlalchemy: list[str]) -> None:
    spec = await add(engine, tags=["a"], schedule_in=60)
    await add(engine)
    assert not {"insert_one", "insert_bare"} & {*by_sqlalchemy}
    async with AsyncSession(engine) as session:
        job = await session.get_one(Job, spec.id)
        assert (job.worker, job.args, job.tags, job.state) == ("app.driver", SPEC, ["a"], "scheduled")


@pytest.mark.parametrize("name", ["before_execute", "before_cursor_execute", "after_cursor_execute"])
async def test_a_listener_sees_the_statement(engine: AsyncEngine, by_sqlalchemy: list[str], name: str) -> None:
    seen: list[str] = []

    def note(*args: Any) -> None:
        seen.append(str(args[1 if name == "before_execute" else 2]))

    event.listen(engine.sync_engine, name, note)
    await add(engine)
    assert any("INSERT INTO oban_jobs" in statement for statement in seen)
    assert "insert_bare" in by_sqlalchemy
    event.remove(engine.sync_engine, name, note)


async def test_the_log_of_the_engine_has_the_statement(engine: AsyncEngine, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "sqlalchemy.engine.Engine"):
        await add(engine)
    assert any("INSERT INTO oban_jobs" in record.getMessage() for record in caplog.records)


async def test_an_error_is_sqlalchemys_and_has_no_arguments(engine: AsyncEngine) -> None:
    heard: list[Any] = []
    event.listen(engine.sync_engine, "handle_error", hear := heard.append)
    elsewhere = engine.execution_options(schema_translate_map={None: "no_such_schema"})
    with pytest.raises(DBAPIError, match="no_such_schema") as raised:
        await add(elsewhere)
    assert "tulips" not in str(raised.value)
    assert len(heard) == 1
    event.remove(engine.sync_engine, "handle_error", hear)
    assert (await add(engine)).id is not None, "the connection is as good as before"


async def test_a_connection_that_is_gone_leaves_the_pool(database_url: str, engine: AsyncEngine) -> None:
    own = create_async_engine(database_url, pool_size=1, max_overflow=0)
    async with AsyncSession(own) as session:
        pid = await session.scalar(select(func.pg_backend_pid()))
        await execute(engine, f"SELECT pg_terminate_backend({pid}, 5000)")
        session.add(JobSpec("app.driver", SPEC))
        with pytest.raises(DBAPIError) as raised:
            await session.commit()
        assert raised.value.connection_invalidated
    assert (await add(own)).id is not None
    async with AsyncSession(own) as session:
        assert await session.scalar(text("SELECT count(*) FROM oban_jobs")) == 1
    await own.dispose()
