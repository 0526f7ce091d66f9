"""Suggestions for a search: frequent values from the table's statistics, and the keys of the newest arguments."""

from __future__ import annotations

import re
import shlex

from sqlalchemy import Connection

from ..statements.glance import COMMON, args_keys
from .sizes import jobs_name

_NAMES = {"queue": "queue", "worker": "worker", "tags": "tag"}
_TO_QUOTE = re.compile(r"[\s'\"\\]")


def suggestions(connection: Connection) -> list[str]:
    """Parts of a search that find jobs, such as ``worker:app.jobs.send``."""
    found = [
        part(_NAMES[row.column], value)
        for row in connection.execute(COMMON, {"jobs": jobs_name(connection)})
        for value in row.found or ()
    ]
    keys = [f"args.{row.key}:" for row in args_keys.execute(connection, most=1_000)]
    return [*found, *keys]


def part(name: str, value: str) -> str:
    """A part of a search as a person types it: quoted when the value has blanks, quotes or backslashes."""
    return f"{name}:{value if not _TO_QUOTE.search(value) else shlex.quote(value)}"
