"""The crontab: in words, when each entry ran and runs next."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Connection, select
from sqlalchemy.orm import Session

from ...insight.crons import CronInfo, describe
from ...models import CronEntry
from ...statements.neighbours import last_runs
from ..ask import Ask, Content
from ..schedule import in_words

MOST = 200
RUNS = 10
SECONDS = 5.0


async def crons(ask: Ask, _rest: str) -> Content:
    """The entries of the crontab, and the last runs of each."""

    def read(connection: Connection) -> list[tuple[CronInfo, list[tuple[int, str]]]]:
        now = datetime.now(UTC)
        with Session(connection) as session:
            entries = list(session.scalars(select(CronEntry).order_by(CronEntry.name)))
            found = [describe(entry, now) for entry in entries]
        shown = found[:MOST]
        runs: dict[str, list[tuple[int, str]]] = {entry.name: [] for entry in shown}
        for row in connection.execute(last_runs(list(runs), RUNS)):
            runs[row.name].append((row.id, row.state))
        return [(entry, runs[entry.name]) for entry in shown]

    panel = await ask.panel("crons", read, SECONDS)
    rows = [(entry, in_words(entry.expression), runs) for entry, runs in panel.found or []]
    return Content("crons.html", "Cron", {"panel": panel, "rows": rows}, "crons")
