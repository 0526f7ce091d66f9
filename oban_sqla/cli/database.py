"""Which database a command works on."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import asyncpg
import click
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from .. import migrations
from ..errors import DatabaseUnavailable, SchemaOutdated
from ..statements.version import schemas_with_tables
from .settings import FILE, config_option, settings

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

ENVIRONMENT = ("OBAN_DATABASE_URL", "DATABASE_URL")
ASYNC_DRIVERS = ("asyncpg", "psycopg", "psycopg_async")
CONNECT_TIMEOUT = 10.0

_OF_ASYNCPG = frozenset(inspect.signature(asyncpg.connect).parameters) | {
    "prepared_statement_cache_size",
    "prepared_statement_name_func",
}


def database_option(command: F) -> F:
    """``--database-url``, else the environment, else the file of the settings."""
    return click.option(
        "--database-url",
        "url",
        metavar="URL",
        envvar=ENVIRONMENT,
        show_envvar=True,
        default=lambda: settings().value("database_url"),
        help="The PostgreSQL database: postgresql://user:password@host/name.",
    )(command)


def schema_option(command: F) -> F:
    """``--schema``, else the environment, else the file of the settings; and ``--config``, which names that."""
    return click.option(
        "--schema",
        metavar="NAME",
        envvar="OBAN_SCHEMA",
        show_envvar=True,
        default=lambda: settings().value("schema"),
        help="PostgreSQL schema of the tables. Default: the first of the search path.",
    )(config_option(command))


def engine_for(url: str | None) -> AsyncEngine:
    """An engine on `url`, with asyncpg unless the URL names another driver.

    :raises click.UsageError: without a URL, or for one that can't be used.
    """
    if not url:
        raise click.UsageError(
            f"no database given; use --database-url, or set {' or '.join(ENVIRONMENT)}, or database_url in {FILE}"
        )
    return create_async_engine(_checked(url), pool_pre_ping=True)


def brief_engine_for(url: str | None) -> AsyncEngine:
    """The same for a command's few statements. None is prepared by name, so it works through a transaction pooler."""
    engine = engine_for(url)
    return create_async_engine(engine.url, connect_args=_UNNAMED[engine.dialect.driver])


_UNNAMED: dict[str, dict[str, Any]] = {
    "asyncpg": {
        "statement_cache_size": 0,
        "prepared_statement_cache_size": 0,
        "prepared_statement_name_func": lambda: "",
    },
    "psycopg": {"prepare_threshold": None},
}


def on_database(url: str | None, schema: str | None, work: Callable[[AsyncEngine], Awaitable[T]]) -> T:
    """What `work` returns for an engine on `url` whose statements find the tables in `schema`.

    :raises DatabaseUnavailable: when nothing answers.
    :raises SchemaOutdated: when the tables are missing, or older than this package.
    """
    engine = brief_engine_for(url)
    if schema is not None:
        engine = engine.execution_options(schema_translate_map={None: schema})

    async def run() -> T:
        try:
            if (version := await reached(engine, schema)) < migrations.CURRENT:
                run_first = f"run `oban-sqla migrate{_schema_argument(schema)}` first"
                others = await _schemas(engine) if version == 0 else []
                if named := [name for name in others if name != schema]:
                    run_first = f"add --schema {named[0]}, or {run_first} for a second queue"
                raise SchemaOutdated(f"{migrations.described(version, schema, others)}; {run_first}")
            return await work(engine)
        finally:
            await engine.dispose()

    return asyncio.run(run())


async def _schemas(engine: AsyncEngine) -> list[str]:
    async with engine.connect() as connection:
        return await connection.run_sync(lambda given: list(schemas_with_tables.execute(given).scalars()))


async def reached(engine: AsyncEngine, schema: str | None) -> int:
    """The version of the tables; the first contact with the database.

    :raises DatabaseUnavailable: when nothing answers.
    """
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            return await migrations.version(engine, schema)
    except OSError as error:  # TimeoutError is one
        url = engine.url.render_as_string(hide_password=True)
        raise DatabaseUnavailable(
            f"no answer from {url} ({str(error) or 'timed out'}); is the server running, and is the URL right?"
        ) from error


def _schema_argument(schema: str | None) -> str:
    return "" if schema is None else f" --schema {schema}"


def _checked(given: str) -> URL:
    try:
        url = make_url(given)
    except (ArgumentError, ValueError) as error:
        # SQLAlchemy's message would show the URL, and the password in it.
        raise click.UsageError(
            "the database URL can't be parsed; expected postgresql://user:password@host/name"
        ) from error
    dialect, _, driver = url.drivername.partition("+")
    if dialect not in ("postgresql", "postgres"):
        raise click.UsageError(f"jobs need PostgreSQL, but the database URL starts with {url.drivername!r}")
    if driver and driver not in ASYNC_DRIVERS:
        raise click.UsageError(
            f"the driver {driver!r} is synchronous; write postgresql:// for asyncpg, or postgresql+psycopg:// for "
            "psycopg 3"
        )
    driver = driver or "asyncpg"
    url = url.set(drivername=f"postgresql+{driver}")
    return _for_asyncpg(url) if driver == "asyncpg" else url


def _for_asyncpg(url: URL) -> URL:
    """libpq's ``sslmode`` under asyncpg's name; other parameters that asyncpg doesn't know are refused."""
    query = {("ssl" if name == "sslmode" else name): value for name, value in url.query.items()}
    if unknown := sorted(set(query) - _OF_ASYNCPG):
        raise click.UsageError(
            f"asyncpg does not know {', '.join(unknown)} in the database URL; "
            "remove it, or write postgresql+psycopg:// to use psycopg"
        )
    return url.set(query=query)
