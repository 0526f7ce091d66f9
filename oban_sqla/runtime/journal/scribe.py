"""The scribe: writes what the runs of a node tell, in batches, on a connection for this alone.

Events go out as soon as nothing else is on its way, up to fifty times a second; log lines up to twice; progress once,
in one statement for all jobs of the node. A run that ends waits until all of it is written, so that a
reader that sees the job finished sees its last event, too.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

from ...statements.journal import tell
from ...telemetry import job_logger as logger
from ...workers.running_loop import running_loop
from ..lanes.lane import Lane
from ..loop import Loop
from ..row import Row
from .journal import Journal
from .notes import write_notes
from .readers import notice_of
from .writer import Writer

EVENTS_EVERY = 0.02
LINES_EVERY = 0.5
FLOOD_EVERY = 2.0
PROGRESS_EVERY = 1.0
"""Seconds between two statements. Of a job that floods its log, most of what is written is soon deleted again."""

LAST_WORDS = 30.0
"""Seconds that the end of a run waits for the database to take what is left."""
LAST_WORDS_WHEN_STOPPED = 1.5
"""The same where the run has been told to stop meanwhile."""


class Scribe(Loop):
    """Writes the journals of one node.

    :param lane: a connection for this alone, made when it is first used.
    :param channel: on which other nodes are told of new events; None to tell none.
    :param origin: names this node in what it tells.
    :param most_lines: log lines of a job that are kept; 0 where logs are not.
    :param written: called with the ids of jobs with new events, and of those that may have ended.
    """

    name = "scribe"

    def __init__(
        self,
        *,
        lane: Lane,
        channel: str | None,
        origin: str,
        most_lines: int,
        written: Callable[[set[int], set[int]], None],
    ) -> None:
        super().__init__()
        # Given, and never written again.
        self._lane = lane
        self._channel = channel
        self._origin = origin
        self._most_lines = most_lines
        self._written = written
        self._writer = Writer(lane=lane, channel=channel, origin=origin, written=lambda jobs: written(jobs, set()))
        self._home = asyncio.get_running_loop()
        # Journals with something to write: added to by _touched(), on the loop of the node.
        self._open: dict[Journal, None] = {}
        # Those whose runs have ended, with what waits for them: written by close() and _settle().
        self._closing: dict[Journal, asyncio.Future[None]] = {}
        # When, in monotonic seconds, it last wrote: events or lines, and progress.
        self._wrote_at = -math.inf
        self._noted_at = -math.inf

    def open(self, row: Row) -> Journal:
        """A journal for the run of `row`."""
        return Journal(row, self._touched, most=self._most_lines)

    async def close(self, journal: Journal) -> None:
        """Write what is left of it; waits for :data:`LAST_WORDS` at most, also while it is being cancelled."""
        journal.is_closed = True
        if journal.is_empty and not journal.told:
            return
        waiting = self._closing[journal] = self._home.create_future()
        self._open[journal] = None
        self.wake()
        until = time.monotonic() + LAST_WORDS
        while not waiting.done() and (left := until - time.monotonic()) > 0 and self.is_alive:
            try:
                await asyncio.wait([waiting], timeout=left)
            except asyncio.CancelledError:
                until = min(until, time.monotonic() + LAST_WORDS_WHEN_STOPPED)
        self._closing.pop(journal, None)
        if not journal.is_empty:
            self._open.pop(journal, None)
            logger.warning(
                "job %d: what it told last could not be written: %d events, %d lines of its log%s",
                journal.row.id, len(journal.events), len(journal.lines) + len(journal.sending),
                ", its progress" if journal.note or journal.noting else "", extra=journal.row.log_extra,
            )  # fmt: skip

    async def step(self) -> float | None:
        now = time.monotonic()
        due = math.inf
        if (every := self._rows_every()) is not None:
            if now >= (at := self._wrote_at + every):
                await self._write_rows()
                if (every := self._rows_every()) is not None:
                    due = self._wrote_at + every
            else:
                due = min(due, at)
        if noted := [journal for journal in self._open if journal.note or journal.noting]:
            ending = [journal for journal in noted if journal in self._closing]
            if now >= (at := self._noted_at + PROGRESS_EVERY):
                self._noted_at = now
                await self._write_notes(noted)
            else:
                due = min(due, at)
                if ending:
                    await self._write_notes(ending)
        await self._settle()
        if self._open and due == math.inf:
            due = now  # something came meanwhile
        return None if due == math.inf else max(due - time.monotonic(), 0.001)

    def _touched(self, journal: Journal) -> None:
        if running_loop() is self._home:
            self._admit(journal)
        elif not self._home.is_closed():
            self._home.call_soon_threadsafe(self._admit, journal)

    def _admit(self, journal: Journal) -> None:
        self._open[journal] = None
        self.wake()

    def _rows_every(self) -> float | None:
        """How long after the last statement the next one comes; None when there are no rows to write."""
        every: float | None = None
        for journal in self._open:
            if journal.events or journal.lines or journal.sending:
                if journal in self._closing:
                    return 0.0
                wait = EVENTS_EVERY if journal.events else FLOOD_EVERY if journal.floods else LINES_EVERY
                every = wait if every is None else min(every, wait)
        return every

    async def _write_rows(self) -> None:
        self._wrote_at = time.monotonic()
        await self._writer.write(list(self._open), self._failures)
        self._progress()

    async def _write_notes(self, journals: list[Journal]) -> None:
        await write_notes(self._lane, journals, self._failures)
        self._progress()

    async def _settle(self) -> None:
        """Let the runs end of which everything is written, and tell who reads their events."""
        ended: set[int] = set()
        for journal in list(self._open):
            if journal.is_empty:
                del self._open[journal]
                if (waiting := self._closing.pop(journal, None)) is not None:
                    if journal.told and not journal.fenced:
                        ended.add(journal.row.id)
                    if not waiting.done():
                        waiting.set_result(None)
        if ended:
            self._written(set(), ended)
            if self._channel is not None:
                payload = notice_of(self._origin, (), ended)
                await self._lane.run_unshielded(tell, channel=self._channel, payload=payload)
