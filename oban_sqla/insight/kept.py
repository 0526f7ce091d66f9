"""What is stored of a job outside its row: steps, signals, events and the lines of its log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from ..models.events import EventKind
from ..statements.neighbours import kept_signals, kept_steps, last_lines

MOST = 200
"""Most rows of each kind."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is stored of a job outside its row, at most :data:`MOST` of each kind.

    :ivar steps: its steps, sleeps and waits, in order.
    :ivar signals: the signals that were sent to it, in order.
    :ivar events: the last events that it has emitted, in order.
    :ivar log: the last lines of its log, in order.
    """

    steps: tuple[Any, ...] = ()
    signals: tuple[Any, ...] = ()
    events: tuple[Any, ...] = ()
    log: tuple[Any, ...] = ()


def kept(connection: Connection, job_id: int) -> Kept:
    """What is stored of the job outside its row."""
    lines = {kind: connection.execute(last_lines(job_id, kind, MOST)).all()[::-1] for kind in EventKind}
    return Kept(
        steps=tuple(connection.execute(kept_steps(job_id, MOST))),
        signals=tuple(connection.execute(kept_signals(job_id, MOST))),
        events=tuple(lines[EventKind.EVENT]),
        log=tuple(lines[EventKind.LOG]),
    )
