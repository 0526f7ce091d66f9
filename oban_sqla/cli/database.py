"""The database on which a command works."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import click
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from .. import migrations
from ..errors import DatabaseUnavailable, InvalidOption, SchemaOutdated
from ..options.url import async_url
from ..statements.version import schemas_with_tables
from ..telemetry.printable import shell_word
from .settings import FILE, config_option, settings

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

ENVIRONMENT = ("OBAN_DATABASE_URL", "DATABASE_URL")
CONNECT_TIMEOUT = 10.0


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
    """``--schema``, else the environment, else the file of the settings; and ``--config``, which names that file."""
    return click.option(
        "--schema",
        metavar="NAME",
        envvar="OBAN_SCHEMA",
        show_envvar=True,
        default=lambda: settings().value("schema"),
        help="PostgreSQL schema of the tables. Default: the first of the search path.",
    )(config_option(command))


def pool_for(jobs: int) -> dict[str, Any]:
    """Options of an engine that has a connection for each of `jobs` jobs.

    SQLAlchemy's default is 15 connections: further jobs would wait, and fail after 30 s. The engine opens only as many
    as are used, and more than `jobs` when a queue is scaled.
    """
    return {"pool_size": max(jobs, 5), "max_overflow": -1}


def engine_for(url: str | None, **options: Any) -> AsyncEngine:
    """An engine on `url`, with asyncpg unless the URL names psycopg.

    :param options: further options of the engine.
    :raises click.UsageError: without a URL, or for one that can't be used.
    """
    if not url:
        raise click.UsageError(
            f"no database given; use --database-url, or set {' or '.join(ENVIRONMENT)}, or database_url in {FILE}"
        )
    try:
        return create_async_engine(async_url(url), pool_pre_ping=True, **options)
    except InvalidOption as error:
        raise click.UsageError(str(error)) from error
    except ModuleNotFoundError as error:
        raise click.UsageError(
            f"the database URL names a driver that is not installed ({error.name}): pip install 'oban-sqla[psycopg]', "
            "or write postgresql:// for asyncpg"
        ) from error


def brief_engine_for(url: str | None) -> AsyncEngine:
    """An engine on `url` for the few statements of a command. It names no prepared statements, so that poolers work."""
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
    """What `work` returns for an engine on `url` whose statements use the tables in `schema`.

    :raises DatabaseUnavailable: when the server does not answer.
    :raises SchemaOutdated: when the tables are missing, or older than this package.
    """
    engine = brief_engine_for(url)
    if schema is not None:
        engine = engine.execution_options(schema_translate_map={None: schema})

    async def run() -> T:
        try:
            await checked(engine, schema)
            return await work(engine)
        finally:
            await engine.dispose()

    return asyncio.run(run())


async def checked(engine: AsyncEngine, schema: str | None) -> None:
    """Connect for the first time, and check that the tables exist and are new enough.

    :raises DatabaseUnavailable: when the server does not answer.
    :raises SchemaOutdated: when the tables are missing, or older than this package.
    """
    if (version := await reached(engine, schema)) < migrations.CURRENT:
        run_first = f"run `oban-sqla migrate{_schema_argument(schema)}` first"
        others = await _schemas(engine) if version == 0 else []
        if named := [name for name in others if name != schema]:
            run_first = f"add --schema {shell_word(named[0])}, or {run_first} for a second queue"
        raise SchemaOutdated(f"{migrations.described(version, schema, others)}; {run_first}")


async def _schemas(engine: AsyncEngine) -> list[str]:
    async with engine.connect() as connection:
        return await connection.run_sync(lambda given: list(schemas_with_tables.execute(given).scalars()))


async def reached(engine: AsyncEngine, schema: str | None) -> int:
    """Connect for the first time, and read the version of the tables.

    :raises DatabaseUnavailable: when the server does not answer.
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
    return "" if schema is None else f" --schema {shell_word(schema)}"
