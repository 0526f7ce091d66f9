"""Each scenario runs in a plain session and in an AsyncSession, with each driver."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import pytest
from sqlalchemy import NullPool, create_engine, delete, event, make_url
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from tests.enqueueing.application import Base, Letter, User

T = TypeVar("T")


class Run(Protocol):
    """Opens a session with these options, and returns what the scenario does in it."""

    def __call__(self, scenario: Callable[[Session], T], **options: Any) -> T: ...


def run_plainly(url: str, scenario: Callable[[Session], T], options: dict[str, Any]) -> T:
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"), poolclass=NullPool)
    with Session(engine, **options) as session:
        return scenario(session)


def plain_runs(url: str) -> Run:
    def run(scenario: Callable[[Session], T], **options: Any) -> T:
        return run_plainly(url, scenario, options)

    return run


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

    def empty(session: Session) -> None:
        session.execute(delete(Letter))
        session.execute(delete(User))
        session.commit()

    yield
    run_plainly(database_url, empty, {})


@pytest.fixture
def run_once(database_url: str, application: None) -> Run:
    """Runs scenarios in a plain session."""
    return plain_runs(database_url)


@pytest.fixture(params=["Session", "AsyncSession-asyncpg", "AsyncSession-psycopg"])
def run(request: pytest.FixtureRequest, database_url: str, application: None) -> Run:
    """Runs scenarios; the test runs once with each kind of session and driver."""
    if request.param == "Session":
        return plain_runs(database_url)
    driver = request.param.removeprefix("AsyncSession-")

    def run(scenario: Callable[[Session], T], **options: Any) -> T:
        return run_async(database_url, driver, scenario, options)

    return run


@contextmanager
def recorded(session: Session) -> Generator[list[str]]:
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
