"""What people may search for: what the statistics of the table say of it, and the keys of the newest arguments."""

from __future__ import annotations

from sqlalchemy import Connection

from ..statements.glance import COMMON, args_keys
from .sizes import jobs_name

_NAMES = {"queue": "queue", "worker": "worker", "tags": "tag"}


def suggestions(connection: Connection) -> list[str]:
    """Parts of a search that will find jobs, such as ``worker:app.jobs.send``."""
    found = [
        f"{_NAMES[row.column]}:{_quoted(value)}"
        for row in connection.execute(COMMON, {"jobs": jobs_name(connection)})
        for value in row.found or ()
    ]
    keys = [f"args.{row.key}:" for row in args_keys.execute(connection, most=1_000)]
    return [*found, *keys]


def _quoted(value: str) -> str:
    return f'"{value}"' if " " in value else value
