"""Each scenario runs in a plain session and in an AsyncSession, with each driver."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest
from sqlalchemy import NullPool, create_engine, delete, event, make_url
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from tests.enqueueing.application import Base, Letter, User

T = TypeVar("T")

Run = Callable[..., Any]
"""``run(scenario, **options)`` opens a session with these options and returns ``scenario(session)``."""


def run_plainly(url: str, scenario: Callable[[Session], T], options: dict[str, Any]) -> T:
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"), poolclass=NullPool)
    with Session(engine, **options) as session:
        return scenario(session)


def run_async(url: str, driver: str, scenario: Callable[[Session], T], options: dict[str, Any]) -> T:
    async def main() -> T:
        engine = create_async_engine(make_url(url).set(drivername=f"postgresql+{driver}"), poolclass=NullPool)
        async with AsyncSession(engine, **options) as session:
            return await session.run_sync(scenario)

    return asyncio.run(main())


@pytest.fixture(scope="session")
def tables(database_url: str) -> Iterator[None]:
    """The application's own tables."""
    engine = create_engine(make_url(database_url).set(drivername="postgresql+psycopg"), poolclass=NullPool)
    Base.metadata.create_all(engine)
    yield
    Base.metadata.drop_all(engine)


@pytest.fixture
def application(tables: None, database_url: str, clean_tables: None) -> Iterator[None]:
    """The application's tables, empty again after the test."""
    yield
    run_plainly(
        database_url,
        lambda session: (session.execute(delete(Letter)), session.execute(delete(User)), session.commit()),
        {},
    )


@pytest.fixture
def run_once(database_url: str, application: None) -> Run:
    """Runs scenarios in a plain session."""
    return lambda scenario, **options: run_plainly(database_url, scenario, options)


@pytest.fixture(params=["Session", "AsyncSession-asyncpg", "AsyncSession-psycopg"])
def run(request: pytest.FixtureRequest, database_url: str, application: None) -> Run:
    """Runs scenarios; the test runs once with each kind of session and driver."""
    if request.param == "Session":
        return lambda scenario, **options: run_plainly(database_url, scenario, options)
    driver = request.param.removeprefix("AsyncSession-")
    return lambda scenario, **options: run_async(database_url, driver, scenario, options)


@contextmanager
def recorded(session: Session) -> Iterator[list[str]]:
    """The statements that the session's engine executes inside the block."""
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        statements.append(statement)

    engine: Any = session.get_bind()
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", note)
