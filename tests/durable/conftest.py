"""A node with the queue ``durable``, and a table for the effects of steps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker
from sqlalchemy.orm import sessionmaker

from oban_sqla import Oban
from oban_sqla.statements.statement import Statement
from tests.durable import jobs


@pytest.fixture(autouse=True)
def _nothing_called() -> None:
    jobs.calls.clear()
    jobs.failing.clear()
    jobs.bodies.clear()


@pytest.fixture(autouse=True)
def effects(_cleaner: Connection, clean_tables: None) -> Iterator[None]:
    _cleaner.execute(text("DROP TABLE IF EXISTS durable_effects"))
    _cleaner.execute(text("CREATE TABLE durable_effects (id serial, what text)"))
    yield
    _cleaner.execute(text("DROP TABLE durable_effects"))


@pytest.fixture
async def oban(engine: AsyncEngine, sync_engine: Engine, effects: None) -> AsyncIterator[Oban]:
    makers: list[async_sessionmaker[Any] | sessionmaker[Any]] = [
        async_sessionmaker(engine, expire_on_commit=False),
        sessionmaker(sync_engine),
    ]
    async with Oban(engine, {"durable": 10}, sessionmaker=makers, poll_interval=0.1, shutdown_grace=1) as oban:
        yield oban


@pytest.fixture
def sent(oban: Oban) -> list[str]:
    """The names of the statements that steps send on the first of their connections, as they come."""
    assert oban._node is not None
    lane = oban._node.connections.steps[0]
    names: list[str] = []
    original = lane.run_unshielded

    async def counted(statement: Statement, /, **parameters: Any) -> Any:
        names.append(statement.name)
        return await original(statement, **parameters)

    lane.run_unshielded = counted  # type: ignore[method-assign]
    return names
