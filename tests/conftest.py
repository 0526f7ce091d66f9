"""Fixtures on a real PostgreSQL: one server a run, one database an xdist worker, empty tables for every test."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any

import pytest
from sqlalchemy import URL, Connection, Engine, create_engine, make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from tests.database import NoDatabase, TestServer, create_database, drop_database, open_server
from tests.memory import keep_bytecode, use_memory
from tests.tables import disconnect_nodes, empty_tables

SERVER = pytest.StashKey[TestServer]()
FAILED = pytest.StashKey[bool]()


def server_of(config: pytest.Config) -> TestServer:
    """The run's server, started when it is first asked for."""
    if SERVER not in config.stash:
        try:
            config.stash[SERVER] = open_server()
        except NoDatabase as reason:
            pytest.exit(str(reason), returncode=4)
    return config.stash[SERVER]


def pytest_configure() -> None:
    use_memory()
    keep_bytecode()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect the tests without the garbage collector, and keep it from what is there then: it would go through a
    million objects that live as long as the run, again and again."""
    gc.disable()
    collected = yield
    gc.freeze()
    gc.enable()
    return collected


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """With xdist, the controller starts the server and tells its workers where it is."""
    node.workerinput["database_url"] = server_of(node.config).url.render_as_string(hide_password=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if (server := config.stash.get(SERVER, None)) is not None:
        terminalreporter.write_line(f"database: {server}")


def pytest_unconfigure(config: pytest.Config) -> None:
    if (server := config.stash.get(SERVER, None)) is not None:
        server.stop()


@pytest.fixture(scope="session")
def server_url(request: pytest.FixtureRequest) -> URL:
    """The server, by a database from which others can be created."""
    workerinput: dict[str, str] | None = getattr(request.config, "workerinput", None)
    return make_url(workerinput["database_url"]) if workerinput else server_of(request.config).url


@pytest.fixture(scope="session")
def _template(server_url: URL) -> Iterator[str]:
    """The name of a database with the newest schema. To copy it takes a tenth of the time that the migrations take."""
    name = f"oban_template_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.getpid()}"

    async def create() -> None:
        from oban_sqla import migrations

        url = await create_database(server_url, name)
        engine = create_async_engine(url)
        try:
            await migrations.migrate(engine)
        finally:
            await engine.dispose()

    try:
        asyncio.run(create())
        yield name
    finally:
        asyncio.run(drop_database(server_url, name))


@pytest.fixture(scope="session")
def database_url(server_url: URL, _template: str) -> Iterator[str]:
    """This worker's own database, with the newest schema. For asyncpg."""
    name = f"oban_test_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.getpid()}"
    try:
        yield asyncio.run(create_database(server_url, name, _template)).render_as_string(hide_password=False)
    finally:
        asyncio.run(drop_database(server_url, name))


@pytest.fixture(autouse=True)
def same_logging() -> Iterator[None]:
    """Takes back what the test, or a command that it has called, has configured: with the level of INFO, pytest keeps
    a record of each job that a later test runs."""
    names = ("", *(name for name in logging.root.manager.loggerDict if name.startswith("oban_sqla")))
    before = {name: logging.getLogger(name).level for name in names}
    yield
    for name in [*before, *(name for name in logging.root.manager.loggerDict if name.startswith("oban_sqla"))]:
        logging.getLogger(name).setLevel(before.get(name, logging.NOTSET))


@pytest.fixture(autouse=True)
def forget_workers() -> Iterator[None]:
    """Takes the workers that the test has defined itself, in a function or by `exec`, out of the registry: a node looks
    at all of them when it starts, and may find that one asks for what another test's node has not."""
    from oban_sqla.workers.registry import workers

    before = {id(workers[name]) for name in workers}
    yield
    made = [name for name in workers if id(workers[name]) not in before]
    workers.remove(name for name in made if not _is_of_module(workers[name].target))


def _is_of_module(target: Any) -> bool:
    name: str = getattr(target, "__qualname__", "")
    module = sys.modules.get(getattr(target, "__module__", ""))
    return not name or ("<locals>" not in name and hasattr(module, name.partition(".")[0]))


@pytest.fixture
def empty_database(server_url: URL) -> Iterator[str]:
    """A database of the test's own, with nothing in it. For asyncpg."""
    name = f"oban_empty_{os.getpid()}_{os.urandom(4).hex()}"
    try:
        yield asyncio.run(create_database(server_url, name)).render_as_string(hide_password=False)
    finally:
        asyncio.run(drop_database(server_url, name))


@pytest.fixture
def migrated_database(server_url: URL, _template: str) -> Iterator[str]:
    """A database of the test's own, with the newest schema. For asyncpg."""
    name = f"oban_migrated_{os.getpid()}_{os.urandom(4).hex()}"
    try:
        yield asyncio.run(create_database(server_url, name, _template)).render_as_string(hide_password=False)
    finally:
        asyncio.run(drop_database(server_url, name))


@pytest.fixture(scope="session")
def _cleaner(database_url: str) -> Iterator[Connection]:
    engine = create_engine(_psycopg(database_url), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("SET lock_timeout = '10s'"))
        yield connection
    engine.dispose()


@pytest.fixture
def clean_tables(request: pytest.FixtureRequest, _cleaner: Connection) -> Iterator[None]:
    """Empties our tables after the test, when its engines are gone. Fails where one left a transaction open."""
    yield
    if request.node.stash.get(FAILED, False):
        disconnect_nodes(_cleaner)
    empty_tables(_cleaner)


@pytest.fixture
async def engine(database_url: str, clean_tables: None) -> AsyncIterator[AsyncEngine]:
    """An engine of asyncpg."""
    engine = create_async_engine(database_url)
    yield engine
    await engine.dispose()


@pytest.fixture(params=["asyncpg", "psycopg"])
async def any_engine(
    request: pytest.FixtureRequest, database_url: str, clean_tables: None
) -> AsyncIterator[AsyncEngine]:
    """An asynchronous engine; the test runs once with each driver."""
    engine = create_async_engine(make_url(database_url).set(drivername=f"postgresql+{request.param}"))
    yield engine
    await engine.dispose()


@pytest.fixture
def sync_engine(database_url: str, clean_tables: None) -> Iterator[Engine]:
    """A plain engine, of psycopg 3."""
    engine = create_engine(_psycopg(database_url))
    yield engine
    engine.dispose()


def _psycopg(url: str) -> URL:
    return make_url(url).set(drivername="postgresql+psycopg")
