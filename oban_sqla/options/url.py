"""The URL of a PostgreSQL database, in whichever spelling it comes, for an asynchronous engine."""

from __future__ import annotations

import inspect
import re
from functools import cache

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from ..errors import InvalidOption

DIALECTS = ("postgresql", "postgres")
ASYNC_DRIVERS = ("asyncpg", "psycopg", "psycopg_async")
SYNC_DRIVERS = ("psycopg2", "psycopg2cffi", "pg8000", "pygresql", "pypostgresql")

_SEVERAL = re.compile(
    r"(?P<begin>[^:/]+://(?:[^@/?]*@)?)(?P<hosts>[^/?@]*,[^/?@]*)(?P<name>/[^?]*)?(?:\?(?P<query>.*))?"
)
"""A URL of libpq with several hosts, which SQLAlchemy has among the parameters."""


def async_url(url: str | URL) -> URL:
    """The URL of a PostgreSQL database for ``create_async_engine``, whatever its spelling.

    ::

        engine = create_async_engine(async_url(os.environ["DATABASE_URL"]))

    Hosting platforms give ``postgres://`` or ``postgresql://``, other programs ``postgresql+psycopg2://``. With
    ``postgresql+psycopg://`` the engine uses psycopg 3, with all others asyncpg. ``sslmode``, which asyncpg calls
    ``ssl``, is given to each driver by its own name. Several hosts may be named as for libpq:
    ``postgresql://one:5432,two:5432/app?target_session_attrs=read-write``.

    :param url: a URL as text, or SQLAlchemy's ``URL``.
    :returns: the URL, with an asynchronous driver. Its text hides the password.
    :raises InvalidOption: for None, a text that is not a URL, another database, an unknown driver, or a parameter that
        asyncpg does not have. No message contains the password.
    """
    if not isinstance(url, str | URL):  # mostly the None of a variable that is not set
        raise InvalidOption(
            f"the database URL: expected postgresql://user:password@host/name, got {type(url).__name__}; "
            "is the variable that should hold it set?"
        )
    try:
        parsed = make_url(_with_hosts_apart(url))
    except (ArgumentError, ValueError):
        # SQLAlchemy's message would show the URL, and the password in it.
        raise InvalidOption("the database URL can't be parsed; expected postgresql://user:password@host/name") from None
    dialect, _, driver = parsed.drivername.partition("+")
    if dialect not in DIALECTS:
        raise InvalidOption(f"jobs need PostgreSQL, but the database URL starts with {parsed.drivername!r}")
    if driver.startswith("psycopg") and driver in ASYNC_DRIVERS:
        return _renamed(parsed.set(drivername="postgresql+psycopg"), "ssl", "sslmode")
    if driver and driver not in ASYNC_DRIVERS + SYNC_DRIVERS:
        raise InvalidOption(
            f"the database URL names the unknown driver {driver!r}; write postgresql:// for asyncpg, or "
            "postgresql+psycopg:// for psycopg 3"
        )
    return _for_asyncpg(parsed.set(drivername="postgresql+asyncpg"))


def _with_hosts_apart(url: str | URL) -> str | URL:
    found = None if isinstance(url, URL) else _SEVERAL.fullmatch(url)
    if found is None:
        return url
    hosts = [host if re.search(r":\d+$", host) else f"{host}:5432" for host in found["hosts"].split(",")]
    query = [f"host={host}" for host in hosts] + ([found["query"]] if found["query"] else [])
    return f"{found['begin']}{found['name'] or '/'}?{'&'.join(query)}"


def _for_asyncpg(url: URL) -> URL:
    url = _renamed(url, "sslmode", "ssl")
    if unknown := sorted(url.query.keys() - _parameters()):
        raise InvalidOption(
            f"asyncpg does not know {', '.join(unknown)} in the database URL; "
            "remove it, or write postgresql+psycopg:// to use psycopg"
        )
    return url


def _renamed(url: URL, old: str, new: str) -> URL:
    return url.set(query={(new if name == old else name): value for name, value in url.query.items()})


@cache
def _parameters() -> frozenset[str]:
    """What asyncpg, or SQLAlchemy for it, takes in a URL."""
    import asyncpg  # only where there is a URL to be checked

    own = {"prepared_statement_cache_size", "prepared_statement_name_func"}
    return frozenset(inspect.signature(asyncpg.connect).parameters) | own
