"""Each scenario runs in a plain session and in an AsyncSession, with each driver, in a transaction that is undone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import pytest
from sqlalchemy import URL, Connection, NullPool, create_engine, make_url
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from tests.instances import models

T = TypeVar("T")
JOINED: dict[str, Any] = {"join_transaction_mode": "create_savepoint"}


class Run(Protocol):
    """Opens a session, and returns what the scenario does in it."""

    def __call__(self, scenario: Callable[[Session], T]) -> T: ...


@pytest.fixture(autouse=True)
def _no_calls_yet() -> None:
    models.calls.clear()


@pytest.fixture(params=["Session", "AsyncSession-asyncpg", "AsyncSession-psycopg"])
def run(request: pytest.FixtureRequest, database_url: str, clean_tables: None) -> Run:
    """Runs scenarios; the test runs once with each kind of session and driver."""
    url = make_url(database_url)
    if request.param == "Session":
        return plain_runs(url)
    driver = request.param.removeprefix("AsyncSession-")

    def run(scenario: Callable[[Session], T]) -> T:
        return asyncio.run(_run_async(url.set(drivername=f"postgresql+{driver}"), scenario))

    return run


def plain_runs(url: URL) -> Run:
    def run(scenario: Callable[[Session], T]) -> T:
        return _run_plainly(url.set(drivername="postgresql+psycopg"), scenario)

    return run


def _run_plainly(url: URL, scenario: Callable[[Session], T]) -> T:
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection, connection.begin() as outer:
        models.Base.metadata.create_all(connection)
        with Session(connection, **JOINED) as session:
            result = scenario(session)
        outer.rollback()
    return result


async def _run_async(url: URL, scenario: Callable[[Session], T]) -> T:
    engine = create_async_engine(url, poolclass=NullPool)
    async with engine.connect() as connection, connection.begin() as outer:
        await connection.run_sync(models.Base.metadata.create_all)
        async with AsyncSession(connection, **JOINED) as session:
            result = await session.run_sync(scenario)
        await outer.rollback()
    return result


@pytest.fixture
def run_once(database_url: str, clean_tables: None) -> Run:
    """Runs scenarios in a plain session."""
    return plain_runs(make_url(database_url))


def connection_of(session: Session) -> Connection:
    """The connection of the test's transaction, on which other sessions can be opened."""
    return session.connection()
