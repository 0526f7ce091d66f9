"""The crontab: each entry in words, when it ran, and when it runs next."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Connection, select
from sqlalchemy.orm import Session

from ...insight.crons import CronInfo, describe
from ...models import CronEntry
from ...statements.neighbours import last_runs
from ..ask import Ask, Content
from ..schedule import in_words

PAGE = 100
"""Entries on a page, by name."""
RUNS = 10
"""The last runs that are shown of each entry."""
SECONDS = 5.0
"""How long requests share the page."""


async def crons(ask: Ask, _rest: str) -> Content:
    """The entries of the crontab, and the last runs of each."""
    after = ask.one("after")
    query = select(CronEntry).order_by(CronEntry.name).limit(PAGE + 1)
    if after is not None:
        query = query.where(CronEntry.name > after)

    def read(connection: Connection) -> list[tuple[CronInfo, list[tuple[int, str]]]]:
        now = datetime.now(UTC)
        with Session(connection) as session:
            found = [describe(entry, now) for entry in session.scalars(query)]
        runs: dict[str, list[tuple[int, str]]] = {entry.name: [] for entry in found}
        for row in connection.execute(last_runs(list(runs), RUNS)):
            runs[row.name].append((row.id, row.state))
        return [(entry, runs[entry.name]) for entry in found]

    panel = await ask.panel(("crons", after), read, SECONDS)
    found = panel.found or []
    rows = [(entry, in_words(entry.expression), runs) for entry, runs in found[:PAGE]]
    more = rows[-1][0].name if len(found) > PAGE else None
    return Content("crons.html", "Cron", {"panel": panel, "rows": rows, "more": more}, "crons")
