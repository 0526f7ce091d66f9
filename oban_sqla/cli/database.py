"""Which database a command works on."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import asyncpg
import click
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

F = TypeVar("F", bound=Callable[..., Any])

ENVIRONMENT = ("OBAN_DATABASE_URL", "DATABASE_URL")
ASYNC_DRIVERS = ("asyncpg", "psycopg", "psycopg_async")
CONNECT_TIMEOUT = 10.0

_OF_ASYNCPG = frozenset(inspect.signature(asyncpg.connect).parameters) | {
    "prepared_statement_cache_size",
    "prepared_statement_name_func",
}


def database_option(command: F) -> F:
    """``--database-url``, else the environment."""
    return click.option(
        "--database-url",
        "url",
        metavar="URL",
        envvar=ENVIRONMENT,
        show_envvar=True,
        help="The PostgreSQL database, as postgresql://user:password@host/name.",
    )(command)


def schema_option(command: F) -> F:
    """``--schema``."""
    return click.option(
        "--schema", metavar="NAME", help="The PostgreSQL schema of the tables. Default: the search path's first."
    )(command)


def engine_for(url: str | None) -> AsyncEngine:
    """An engine on `url`, with asyncpg unless the URL names another driver.

    :raises click.UsageError: without a URL, or for one that can't be used.
    """
    if not url:
        raise click.UsageError(f"no database: give --database-url, or set {' or '.join(ENVIRONMENT)}")
    return create_async_engine(_checked(url), pool_pre_ping=True)


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
        raise click.UsageError(f"jobs need PostgreSQL, and the database URL says {url.drivername!r}")
    if driver and driver not in ASYNC_DRIVERS:
        raise click.UsageError(
            f"the driver {driver!r} is a synchronous one; write postgresql:// (which means asyncpg here), "
            "or postgresql+psycopg://"
        )
    driver = driver or "asyncpg"
    url = url.set(drivername=f"postgresql+{driver}")
    return _for_asyncpg(url) if driver == "asyncpg" else url


def _for_asyncpg(url: URL) -> URL:
    """libpq's ``sslmode`` under asyncpg's name; anything else that asyncpg doesn't know is refused by name."""
    query = {("ssl" if name == "sslmode" else name): value for name, value in url.query.items()}
    if unknown := sorted(set(query) - _OF_ASYNCPG):
        raise click.UsageError(
            f"asyncpg does not know {', '.join(unknown)} in the database URL; "
            "leave that out, or write postgresql+psycopg:// to use psycopg"
        )
    return url.set(query=query)
