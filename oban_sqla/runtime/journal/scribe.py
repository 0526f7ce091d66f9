"""The scribe: writes what the runs of a node tell, in batches, on a connection for this alone.

Events go out as soon as nothing else is on its way, up to fifty times a second; log lines up to twice; progress once,
in one statement for all jobs of the node. A run that ends waits until all of it is written, so that a
reader that sees the job finished sees its last event, too.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json

from ...models.events import EventKind
from ...options.payload import storable
from ...statements.journal import note, numbers, record, recorded, tell
from ...telemetry import execute
from ...telemetry import job_logger as logger
from ...workers.sealing import sealed
from ..lanes.failure import StatementFailed
from ..lanes.lane import Lane
from ..loop import Loop
from ..row import Row
from .journal import Journal
from .line import Line, stored

EVENTS_EVERY = 0.02
LINES_EVERY = 0.5
FLOOD_EVERY = 2.0
PROGRESS_EVERY = 1.0
"""Seconds between two statements. Of a job that floods its log, most of what is written is soon deleted again."""

LARGEST_BATCH = 5_000
LARGEST_BYTES = 4_194_304
"""Of one statement."""
MOST_TOLD = 200
"""Jobs that a notification names."""

LAST_WORDS = 30.0
"""Seconds that the end of a run waits for the database to take what is left."""
LAST_WORDS_WHEN_STOPPED = 1.5
"""The same where the run has been told to stop meanwhile."""

LONGEST = 16_384
"""Characters of a log line; of a longer one the beginning and the end are kept."""

_TAKEN = "23505"


@dataclass(slots=True)
class Part:
    """What one journal has in a batch.

    :ivar events: texts with their times.
    :ivar lines: lines of the log.
    :ivar values: those as text, in order.
    """

    journal: Journal
    events: list[tuple[float, str]]
    lines: list[Line]
    values: list[str]


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
        try:
            here = asyncio.get_running_loop() is self._home
        except RuntimeError:
            here = False
        if here:
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
        batch = self._take()
        if not batch:
            return
        try:
            await self._send(batch)
        except StatementFailed as error:
            if error.sqlstate != _TAKEN and not error.blames_value(self._failures):
                raise
            for part in batch:
                await self._send_alone(part)
        self._progress()

    def _take(self) -> list[Part]:
        """The next batch. It stays with the journals until it is written."""
        batch: list[Part] = []
        room, size = LARGEST_BATCH, 0
        for journal in list(self._open):
            journal.marks -= {"events", "lines"}
            if room <= 0 or size > LARGEST_BYTES:
                self._mark_left(journal)
                continue
            events: list[tuple[float, str]] = []
            for moment, text in journal.events[:room]:
                if events and size + len(text) > LARGEST_BYTES:
                    break
                events.append((moment, text))
                size += len(text)
            room -= len(events)
            lines = list(journal.take_lines(max(min(room, LARGEST_BATCH // 5), 1)))
            room -= len(lines)
            if events or lines:
                values = [*(text for _, text in events), *(text_of(journal, line) for line in lines)]
                batch.append(Part(journal, events, lines, values))
        return batch

    def _mark_left(self, journal: Journal) -> None:
        """What is left of it is found by the next step without a further call."""
        if journal.events:
            journal.marks.add("events")
        if journal.lines:
            journal.marks.add("lines")

    async def _send(self, batch: list[Part]) -> None:
        await self._number(batch)
        run: list[int] = []
        kind: list[int] = []
        n: list[int] = []
        moment: list[float] = []
        value: list[str] = []
        cuts: dict[int, int] = {}
        for place, part in enumerate(batch, 1):
            journal = part.journal
            count = len(part.values)
            run += [place] * count
            kind += [EventKind.EVENT.value] * len(part.events) + [EventKind.LOG.value] * len(part.lines)
            first = (journal.last_event or 0) + 1
            n += range(first, first + len(part.events))
            n += _line_numbers(part)
            moment += [at for at, _ in part.events] + [at for _, at, _ in part.lines]
            value += part.values
            if part.lines and (cut := _line_numbers(part)[-1] - journal.most) > 0:
                cuts[journal.row.id] = cut
        rows = await self._lane.run_unshielded(
            record,
            **_fences([part.journal for part in batch]),
            run=run, kind=kind, n=n, moment=moment, value=value,
            cut_id=[*cuts], cut=[*cuts.values()],
            channel=self._channel, payload=self._payload({part.journal.row.id for part in batch if part.events}),
        )  # fmt: skip
        ours = {place for place, _ in rows}
        told: set[int] = set()
        for place, part in enumerate(batch, 1):
            if place not in ours:
                part.journal.fence()
                continue
            if part.events:
                told.add(part.journal.row.id)
            _wrote(part, len(part.events), len(part.lines))
        if told:
            self._written(told, set())

    async def _send_alone(self, part: Part) -> None:
        """Write what one journal has, whose numbers may be taken: by another run, or by a statement of this one of
        which no answer came."""
        journal = part.journal
        for _ in range(3):
            try:
                await self._send([part])
                return
            except StatementFailed as error:
                if error.blames_value(self._failures) and error.sqlstate != _TAKEN:
                    logger.error("job %d: an event can't be stored: %s", journal.row.id, error)
                    _wrote(part, len(part.events), len(part.lines))
                    return
                if error.sqlstate != _TAKEN:
                    raise
            await self._find_written(part)
            if not part.values:
                return
            journal.last_event = journal.last_line = None

    async def _find_written(self, part: Part) -> None:
        """Take out of `part` what was written unheard: of each kind the first ones, because a statement writes all
        that it is given or nothing."""
        journal, events = part.journal, len(part.events)
        first = (journal.last_event or 0) + 1
        found: list[int] = []
        for kind, numbered, values in (
            (EventKind.EVENT, range(first, first + events), part.values[:events]),
            (EventKind.LOG, _line_numbers(part), part.values[events:]),
        ):
            given: dict[str, Any] = {"id": [journal.row.id] * len(values), "kind": [kind.value] * len(values)}
            rows = await self._lane.run_unshielded(recorded, **given, n=list(numbered), value=values) if values else ()
            found.append(int(rows[0][0]) if rows else 0)
        _wrote(part, *found)
        part.values = part.values[found[0] : events] + part.values[events + found[1] :]
        part.events, part.lines = part.events[found[0] :], part.lines[found[1] :]

    async def _number(self, batch: list[Part]) -> None:
        """Find out from which number on the runs count that have not written yet."""
        wanted: list[tuple[Journal, EventKind]] = []
        for part in batch:
            if part.events and part.journal.last_event is None:
                wanted.append((part.journal, EventKind.EVENT))
            if part.lines and part.journal.last_line is None:
                wanted.append((part.journal, EventKind.LOG))
        if not wanted:
            return
        rows = await self._lane.run_unshielded(
            numbers, id=[journal.row.id for journal, _ in wanted], kind=[kind.value for _, kind in wanted]
        )
        for (journal, kind), (largest,) in zip(wanted, rows, strict=True):
            if kind is EventKind.EVENT:
                journal.last_event = largest
            else:
                journal.last_line = largest - journal.last_written

    async def _write_notes(self, journals: list[Journal]) -> None:
        taken = {journal: said for journal in journals if (said := journal.take_note()) is not None}
        rows = await self._lane.run_unshielded(
            note,
            **_fences([*taken]),
            done=[done for done, _, _ in taken.values()],
            total=[total for _, total, _ in taken.values()],
            note=[text for _, _, text in taken.values()],
        )
        held = {job_id for (job_id,) in rows}
        for journal, (done, total, _) in taken.items():
            journal.wrote_note()
            row = journal.row
            if row.id not in held:
                journal.fence()
            else:
                given = {"job_id": row.id, "worker": row.worker, "queue": row.queue, "done": done, "total": total}
                execute("oban.progress", **given)

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
                await self._lane.run_unshielded(tell, channel=self._channel, payload=self._payload(set(), ended))

    def _payload(self, jobs: Collection[int], ended: Collection[int] = ()) -> str | None:
        if self._channel is None or not (jobs or ended):
            return None
        many = len(jobs) + len(ended) > MOST_TOLD
        named: dict[str, Any] = {"all": True} if many else {"jobs": sorted(jobs), "ended": sorted(ended)}
        return json.dumps({"from": self._origin, **named}, separators=(",", ":"))


def _fences(journals: list[Journal]) -> dict[str, Any]:
    rows = [journal.row for journal in journals]
    return {
        "id": [row.id for row in rows],
        "attempt": [row.attempt for row in rows],
        "producer": [row.attempted_by[1] for row in rows],
        "attempted_at": [row.attempted_at for row in rows],
    }


def _line_numbers(part: Part) -> list[int]:
    base = part.journal.last_line or 0
    return [base + index for index, _, _ in part.lines]


def _wrote(part: Part, events: int, lines: int) -> None:
    journal = part.journal
    if events:
        journal.last_event = (journal.last_event or 0) + events
        journal.wrote_events(events)
    if lines:
        journal.wrote_lines(lines)


def text_of(journal: Journal, line: Line) -> str:
    """A line of the log as JSON text."""
    parts = stored(line, journal.row.attempt).items()
    value = {key: storable(part, LONGEST) if isinstance(part, str) else part for key, part in parts}
    return sealed(journal.worker, to_json(value).decode())  # each part is storable
