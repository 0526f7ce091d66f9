"""Writing what journals have: their events and the lines of their logs, many runs in one statement."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json

from ...models.events import EventKind
from ...options.payload import storable
from ...statements.journal import numbers, record, recorded
from ...telemetry import job_logger as logger
from ...telemetry.log_error import log_error
from ...workers.sealing import sealed
from ..lanes.failure import StatementFailed
from ..lanes.lane import Lane
from .journal import Journal
from .line import Line, stored
from .readers import notice_of

LARGEST_BATCH = 5_000
LARGEST_BYTES = 4_194_304
"""Of one statement."""

LONGEST = 16_384
"""Characters of a log line; of a longer one the beginning and the end are kept."""

MOST_REFUSED = 100
"""Values that are sought one by one in a batch; where more can't be stored, what is sent with them is dropped, too."""

_TAKEN = "23505"


class Writer:
    """Writes events and log lines.

    :param lane: the connection to write on.
    :param channel: on which other nodes are told of new events; None to tell none.
    :param origin: names this node in what it tells.
    :param written: called with the ids of jobs that have new events.
    """

    def __init__(self, *, lane: Lane, channel: str | None, origin: str, written: Callable[[set[int]], None]) -> None:
        # Given, and never written again.
        self._lane = lane
        self._channel = channel
        self._origin = origin
        self._written = written
        # How many values, alone, the database has refused in this call: written by write() and _send_halves().
        self._refused = 0

    async def write(self, journals: Collection[Journal], failures: int) -> None:
        """Write as much of what waits in `journals` as one statement takes.

        :param failures: how often in a row that has failed.
        :raises StatementFailed: when the database did not answer; what was not written waits as before.
        """
        if not (batch := self._take(journals)):
            return
        try:
            await self._send(batch)
        except StatementFailed as error:
            if not error.blames_value(failures):  # a number that is taken does, too
                raise
            self._refused = 0
            for part in batch:
                await self._send_alone(part, failures)

    def _take(self, journals: Collection[Journal]) -> list[Part]:
        """The next batch. It stays with the journals until it is written."""
        batch: list[Part] = []
        room, size = LARGEST_BATCH, 0
        for journal in journals:
            if room <= 0 or size > LARGEST_BYTES:
                break  # what is left is found by the next step
            journal.marks -= {"events", "lines"}
            events: list[tuple[float, str]] = []
            for moment, text in journal.events[:room]:
                if events and size + len(text) > LARGEST_BYTES:
                    break
                events.append((moment, text))
                size += len(text)
            room -= len(events)
            lines, texts = _lines(journal, max(min(room, LARGEST_BATCH // 5), 1))
            room -= len(lines)
            if events or lines:
                batch.append(Part(journal, events, lines, [*(text for _, text in events), *texts]))
        return batch

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
            moment += [at for at, _ in part.events] + [line[1] for line in part.lines]
            value += part.values
            if part.lines and (cut := _line_numbers(part)[-1] - journal.most) > 0:
                cuts[journal.row.id] = cut
        rows = await self._lane.run_unshielded(
            record,
            **fences([part.journal for part in batch]),
            run=run, kind=kind, n=n, moment=moment, value=value,
            cut_id=[*cuts], cut=[*cuts.values()],
            channel=self._channel, payload=self._notice({part.journal.row.id for part in batch if part.events}),
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
            self._written(told)

    async def _send_alone(self, part: Part, failures: int) -> None:
        """Write what one journal has, whose numbers may be taken: by another run, or by a statement of this one of
        which no answer came."""
        journal = part.journal
        for _ in range(3):
            try:
                await self._send([part])
                return
            except StatementFailed as error:
                if error.sqlstate != _TAKEN:
                    if not error.blames_value(failures):
                        raise
                    await self._send_halves(part, error, failures)
                    return
            await self._find_written(part)
            if not part.values:
                return
            journal.last_event = journal.last_line = None

    async def _send_halves(self, part: Part, error: StatementFailed, failures: int) -> None:
        """Drop the value that can't be stored, once it is alone; what is beside it is written."""
        journal = part.journal
        if len(part.values) > 1 and self._refused < MOST_REFUSED:
            for half in _halves(part):
                if not journal.fenced:
                    await self._send_alone(half, failures)
            return
        self._refused += 1
        text = "job %d: %d of its events or log lines can't be stored: %s"
        logger.error(text, journal.row.id, len(part.values), error, extra=journal.row.log_extra)
        # Readers count on numbers without gaps, so the next one gets its number.
        journal.wrote_events(len(part.events))
        journal.wrote_lines(len(part.lines))

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

    def _notice(self, jobs: Collection[int]) -> str | None:
        return notice_of(self._origin, jobs, ()) if jobs and self._channel is not None else None


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


def fences(journals: Collection[Journal]) -> dict[str, Any]:
    """The parameters by which a statement knows whether the runs of `journals` still have their jobs."""
    rows = [journal.row for journal in journals]
    return {
        "id": [row.id for row in rows],
        "attempt": [row.attempt for row in rows],
        "producer": [row.attempted_by[1] for row in rows],
        "attempted_at": [row.attempted_at for row in rows],
    }


def _lines(journal: Journal, most: int) -> tuple[list[Line], list[str]]:
    """The next lines to write, and their texts. They are dropped where none can be made: others wait behind them."""
    lines = list(journal.take_lines(most))
    try:
        return lines, [text_of(journal, line) for line in lines]
    except Exception as error:  # the program's function may have no keys for an encrypted worker now
        text = "job %d: %d of the lines of its log could not be kept"
        log_error(logger, error, text, journal.row.id, len(lines), extra=journal.row.log_extra)
        journal.wrote_lines(len(lines))
        return [], []


def _halves(part: Part) -> tuple[Part, Part]:
    """The first and the second half of what a journal has: of its events, and of the lines behind them."""
    events, at = len(part.events), len(part.values) // 2
    values, of_lines = part.values, max(at - events, 0)
    return (
        Part(part.journal, part.events[:at], part.lines[:of_lines], values[:at]),
        Part(part.journal, part.events[at:], part.lines[of_lines:], values[at:]),
    )


def _line_numbers(part: Part) -> list[int]:
    base = part.journal.last_line or 0
    return [base + line[0] for line in part.lines]


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
