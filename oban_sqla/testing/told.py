"""What a job of a test has told: written as a node would, on the test's own connection."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from ..models.base import utc_now
from ..models.events import EventKind, events
from ..models.progress import progress_rows
from ..runtime.journal.journal import Journal
from ..runtime.journal.writer import text_of


def write_told(connection: Connection, journal: Journal) -> None:
    """Write what a run has told: events, a log, a progress. They stay when its effects are rolled back."""
    job_id = journal.row.id
    if journal.events:
        last = _last(connection, job_id, EventKind.EVENT)
        _write(connection, job_id, EventKind.EVENT, enumerate(journal.events, last + 1))
    if journal.lines:
        last, lines = _last(connection, job_id, EventKind.LOG), list(journal.lines)
        texts = [(last + line[0], (line[1], text_of(journal, line))) for line in lines]
        _write(connection, job_id, EventKind.LOG, texts)
        old = (events.c.kind == EventKind.LOG.value, events.c.n <= texts[-1][0] - journal.most)
        connection.execute(delete(events).where(events.c.job_id == job_id, *old))
    if journal.note is not None:
        done, total, note = journal.note
        values = {"done": done, "total": total, "note": note, "at": utc_now()}
        written = insert(progress_rows).values(job_id=job_id, **values)
        connection.execute(written.on_conflict_do_update(index_elements=[progress_rows.c.job_id], set_=values))


def _last(connection: Connection, job_id: int, kind: EventKind) -> int:
    largest = select(func.max(events.c.n)).where(events.c.job_id == job_id, events.c.kind == kind.value)
    return connection.scalar(largest) or 0


def _write(
    connection: Connection, job_id: int, kind: EventKind, numbered: Iterable[tuple[int, tuple[float, str]]]
) -> None:
    rows = [
        {"job_id": job_id, "kind": kind.value, "n": n, "at": _time(at), "value": json.loads(text)}
        for n, (at, text) in numbered
    ]
    connection.execute(insert(events), rows)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
