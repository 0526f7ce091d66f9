"""What a job of a test has told: written as a node would, on the test's own connection."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.postgresql import insert

from ..models.base import utc_now
from ..models.events import EventKind, events
from ..models.progress import progress_rows
from ..runtime.journal.journal import Journal


def write_told(connection: Connection, journal: Journal) -> None:
    """Write the events and the progress of a run that has ended. They stay when its effects are rolled back."""
    job_id = journal.row.id
    if journal.events:
        event = events.c.kind == EventKind.EVENT.value
        last: int = connection.scalar(select(func.max(events.c.n)).where(events.c.job_id == job_id, event)) or 0
        rows = [
            {"job_id": job_id, "kind": EventKind.EVENT.value, "n": n, "at": _time(at), "value": json.loads(text)}
            for n, (at, text) in enumerate(journal.events, last + 1)
        ]
        connection.execute(insert(events), rows)
    if journal.note is not None:
        done, total, note = journal.note
        values = {"done": done, "total": total, "note": note, "at": utc_now()}
        written = insert(progress_rows).values(job_id=job_id, **values)
        connection.execute(written.on_conflict_do_update(index_elements=[progress_rows.c.job_id], set_=values))


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
