"""The tables whose rows belong to a job, and are deleted with it. There are no foreign keys.

Each has a column ``job_id`` with which an index begins. Whatever deletes jobs takes the tables from here.
"""

from __future__ import annotations

from sqlalchemy import Table

from .events import events
from .progress import progress_rows
from .steps import signals, steps

BELONGINGS: tuple[Table, ...] = (
    progress_rows,
    events,
    steps,
    signals,
)
