"""A job as lists and lines show it: without its arguments, and with the gist of its last error."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from ...models.job import jobs

COLUMNS = (
    "id", "state", "queue", "worker", "attempt", "max_attempts", "priority", "tags",
    "inserted_at", "scheduled_at", "attempted_at", "completed_at", "cancelled_at", "discarded_at",
)  # fmt: skip

_MOMENTS: Mapping[str, str] = {
    "suspended": "inserted_at",
    "executing": "attempted_at",
    "completed": "completed_at",
    "cancelled": "cancelled_at",
    "discarded": "discarded_at",
}
_TRACEBACK = re.compile(r"Traceback \(most recent call last\):$")


def rows() -> Select[Any]:
    """A select of jobs as :func:`loaded` takes them."""
    error: ColumnElement[str] = jobs.c.errors[-1]["error"].astext
    return select(*(jobs.c[name] for name in COLUMNS), error.label("error"))


async def loaded(session: AsyncSession, wanted: Select[Any]) -> list[dict[str, Any]]:
    """The jobs of a select, each as a dict of :data:`COLUMNS` and ``error``."""
    return [_as_dict(row) for row in await session.execute(wanted)]


def when(row: Mapping[str, Any]) -> datetime | None:
    """Since when the job is in its state, or, if it waits, when it is due."""
    found: datetime | None = row[_MOMENTS.get(row["state"], "scheduled_at")]
    return found


def gist(error: str | None) -> str | None:
    """What an error says in one line: of a traceback the exception, of anything else the first line."""
    if error is None:
        return None
    lines = error.strip().splitlines() or [""]
    starts = [at for at, line in enumerate(lines) if _TRACEBACK.search(line)]
    if not starts:
        return lines[0]
    bare = [_bare(line) for line in lines[starts[-1] + 1 :]]
    return next((line for line in bare if line and not line.startswith(" ")), bare[-1] if bare else lines[-1])


def _bare(line: str) -> str:
    """A line of a traceback without the bars of an exception group."""
    return re.sub(r"^(  *[|+] )+", "", line)


def _as_dict(row: Row[Any]) -> dict[str, Any]:
    found = {name: getattr(row, name) for name in COLUMNS}
    return found | {"state": str(found["state"]), "error": gist(row.error)}
