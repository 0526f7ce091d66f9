"""The database: the version of the tables, their sizes, and what the doctor finds."""

from __future__ import annotations

import asyncio
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from ... import migrations
from ...insight.doctor import Finding, examine
from ...insight.sizes import read as read_sizes
from ...statements.version import tables_version
from ..ask import Ask, Content, Panel, trouble

EXAMINED_FOR = 60.0
"""Seconds for which requests share what the doctor finds."""
SIZES_FOR = 30.0
"""Seconds for which requests share the sizes of the tables."""
_ORDER = {"problem": 0, "warning": 1, "skipped": 2, "ok": 3}


async def findings(ask: Ask, patience: float | None = None) -> Panel[list[Finding]]:
    """What the doctor finds, the worst first; at most once a minute.

    :param patience: seconds that the page waits for the doctor; without an answer it shows the findings at its next
        refresh. Default: it waits until the doctor has finished.
    """
    place = ask.place

    async def make() -> list[Finding]:
        async with place.connection(), place.connection():  # the doctor opens two
            return sorted(await examine(place.engine, place.heartbeat), key=lambda one: _ORDER[one.status])

    try:
        # The answer is kept for the next request, even if this one does not wait for it.
        return Panel(await asyncio.wait_for(ask.share("doctor", make, EXAMINED_FOR), patience))
    except TimeoutError:
        return Panel(None)
    except DBAPIError as error:
        return Panel(None, trouble(error))


async def system(ask: Ask, _rest: str) -> Content:
    """The page of the database."""

    def read(connection: Connection) -> dict[str, Any]:
        return {"version": int(tables_version.execute(connection).scalar_one()), "tables": read_sizes(connection)}

    context = {
        "sizes": await ask.panel("sizes", read, SIZES_FOR),
        "findings": await findings(ask),
        "newest": migrations.CURRENT,
    }
    return Content("system.html", "System", context, "system", live=False)
