"""Notices a job that blocks the event loop: no other job of the node runs meanwhile, and its heartbeat is late."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from time import monotonic

from ...telemetry import job_logger as logger
from ..once_a_minute import OnceAMinute
from ..row import Row

EVERY = 0.5
"""Seconds between two looks while jobs run on the loop."""
LONGEST = 1.0
"""Seconds by which a look may be late without a word."""
MOST = 5
"""Jobs in one line."""

_told = OnceAMinute()
"""Workers that were told of."""


class Stall:
    """Measures by how much a timer of the event loop is late while coroutines of jobs run on it."""

    __slots__ = ("_context", "_due", "_is_armed", "_rows")

    def __init__(self) -> None:
        # The context of the node: what is logged here must not be kept in the log of a job.
        self._context = copy_context()
        # What runs: written by enter() and leave().
        self._rows: dict[int, Row] = {}
        # When the next look is due, and whether there is one: written by _arm(), _look() and leave().
        self._due = 0.0
        self._is_armed = False

    def enter(self, row: Row) -> None:
        """A job begins."""
        self._rows[row.id] = row
        if not self._is_armed:
            self._arm()

    def leave(self, row: Row) -> None:
        """It has ended. One that has blocked until its end gets no look before that."""
        self._rows.pop(row.id, None)
        if (late := monotonic() - self._due) > LONGEST:
            self._tell(late, [row, *self._rows.values()])
            self._due = monotonic()  # the look that comes now finds nothing more

    def _arm(self) -> None:
        self._due = monotonic() + EVERY
        self._is_armed = True
        asyncio.get_running_loop().call_later(EVERY, self._look)

    def _look(self) -> None:
        self._is_armed = False
        if not self._rows:
            return
        if (late := monotonic() - self._due) > LONGEST:
            self._tell(late, [*self._rows.values()])
        self._arm()

    def _tell(self, late: float, rows: list[Row]) -> None:
        if not _told.is_due(tuple(sorted({row.worker for row in rows}))):
            return
        more = f" and {len(rows) - MOST} more" if len(rows) > MOST else ""
        named = ", ".join(f"job {row.id} ({row.worker})" for row in rows[:MOST]) + more
        which = named if len(rows) == 1 else f"one of {named}"
        self._context.run(
            logger.warning,
            "the event loop stood still for %.1f s or more, probably by %s; other coroutines and the heartbeat waited: "
            "let what blocks run in a plain function (def), which has a thread, or with executor=\"process\"",
            late, which, extra=rows[0].log_extra if len(rows) == 1 else None,
        )  # fmt: skip
