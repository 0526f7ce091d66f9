"""What one run has told, until it is written."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from ...errors import Fenced, ObanError
from ..row import Row
from .line import Line

FULL = 5_000
"""Events that wait to be written; a job that emits more waits until there is room."""
FULL_BYTES = 4_194_304
"""The same in bytes of JSON."""
MOST = 20 * FULL
"""Events that wait when a job does not await `emit()`; more are refused."""


Note: TypeAlias = tuple[float, float | None, str | None]
"""A progress: what is done, the total, a text."""


class Journal:
    """What a run has told. Its methods may be called from any thread.

    :param row: the job as it was fetched.
    :param touched: called when there is something new to write, at most once for each kind until it was taken.
    :param most: log lines that are kept while they wait; of more, the newest.
    :param bounded: whether a run has to wait when it emits faster than can be written.
    """

    __slots__ = (
        "_adding", "_bounded", "_said", "_touched", "events", "fenced", "is_closed", "last_event", "last_line",
        "last_written", "lines", "logged", "marks", "most", "noting", "row", "sending", "size", "taken", "told",
    )  # fmt: skip

    def __init__(self, row: Row, touched: Callable[[Journal], None], *, most: int = 0, bounded: bool = True) -> None:
        # Given, and never written again.
        self.row = row
        self._bounded = bounded
        self.most = most
        self._touched = touched
        # Events that wait, each with its time, and how long they are: written by emit(), wrote_events() and fence(),
        # under the lock, because a sum that two threads change loses what one of them adds.
        self._adding = threading.Lock()
        self.events: list[tuple[float, str]] = []
        self.size = 0
        # Whether any event was ever emitted: written by emit().
        self.told = False
        # Log lines that wait, and those that are being written: written by log(), take_lines(), wrote_lines()
        # and fence().
        self.lines: deque[Line] = deque(maxlen=max(most, 1))
        self.sending: list[Line] = []
        self.logged = 0
        # The last line that was written: written by wrote_lines().
        self.last_written = 0
        # The progress, and the one that was taken last: each has one writer, say() and take_note(), so that one which
        # comes while another is taken is not lost. And the one that is being written, until wrote_note().
        self._said: Note | None = None
        self.taken: Note | None = None
        self.noting: Note | None = None
        # The number of the last event, and that of the line before the first one of this run, once they are known:
        # written by what writes them.
        self.last_event: int | None = None
        self.last_line: int | None = None
        # What is to be written, of "events", "lines" and "note": written by the methods and by what writes them.
        self.marks: set[str] = set()
        # Whether the run has ended, and whether another run has the job.
        self.is_closed = False
        self.fenced = False

    @property
    def is_full(self) -> bool:
        """Whether the run should wait before it emits more."""
        return self._bounded and (len(self.events) >= FULL or self.size >= FULL_BYTES) and not self.is_closed

    @property
    def floods(self) -> bool:
        """Whether more lines have come since the last was written than are kept."""
        return self.logged - self.last_written > self.most

    @property
    def note(self) -> Note | None:
        """The progress that waits."""
        said = self._said
        return None if said is self.taken else said

    @property
    def is_empty(self) -> bool:
        """Whether everything was written."""
        return not (self.events or self.lines or self.sending or self.note or self.noting)

    @property
    def worker(self) -> str:
        """The name of the job's worker."""
        return self.row.worker

    def emit(self, value: str, moment: float | None = None) -> None:
        """Keep an event, JSON text.

        :param moment: when, in seconds since 1970. Default: now.
        :raises Fenced: when another run has the job.
        :raises ObanError: when the run has ended, or does not wait for its events to be written.
        """
        self._refuse("emit")
        if self._bounded and len(self.events) >= MOST:
            raise ObanError(
                f"job {self.row.id}: {MOST:,} events wait to be written; await emit(…) in a coroutine, so that the "
                "job waits until there is room"
            )
        with self._adding:
            self.events.append((time.time() if moment is None else moment, value))
            self.size += len(value)
        self.told = True
        self._mark("events")

    def say(self, done: float, total: float | None, note: str | None) -> None:
        """Keep the progress; only the last one counts.

        :raises Fenced: when another run has the job.
        :raises ObanError: when the run has ended.
        """
        self._refuse("progress")
        self._said = (done, total, note)
        self._mark("note")

    def log(self, moment: float, level: str, logger: str, message: Any, args: Any = None, skipped: int = 0) -> None:
        """Keep a line of the log; one that comes after the end of the run is dropped.

        :param moment: when, in seconds since 1970.
        :param args: with which `message` is merged when the line is stored. Default: it is the text.
        :param skipped: how many lines before this one have been dropped elsewhere.
        """
        if not (self.fenced or self.is_closed):
            self.logged = number = self.logged + 1 + skipped
            self.lines.append((number, moment, level, logger, message, args))
            if "lines" not in self.marks:
                self._mark("lines")

    def take_lines(self, most: int) -> list[Line]:
        """The next lines to write; the same again until they were written."""
        while self.lines and len(self.sending) < most:
            self.sending.append(self.lines.popleft())
        return self.sending

    def wrote_events(self, count: int) -> None:
        """The first `count` events are written."""
        with self._adding:
            self.size -= sum(len(value) for _, value in self.events[:count])
            del self.events[:count]

    def wrote_lines(self, count: int) -> None:
        """The first `count` of the lines that were taken are written."""
        if count:
            self.last_written = self.sending[count - 1][0]
            del self.sending[:count]

    def take_note(self) -> Note | None:
        """The progress to write; the same again until it was written, or there is a newer one."""
        self.marks.discard("note")
        if (note := self.note) is not None:
            self.noting = self.taken = note
        return self.noting

    def wrote_note(self) -> None:
        """The progress that was taken is written."""
        self.noting = None

    def fence(self) -> None:
        """Another run has the job: nothing more is written."""
        self.fenced = True
        with self._adding:
            self.events.clear()
            self.size = 0
        self.lines.clear()
        self.sending.clear()
        self.taken, self.noting = self._said, None

    def _mark(self, kind: str) -> None:
        if kind not in self.marks:
            self.marks.add(kind)
            self._touched(self)

    def _refuse(self, what: str) -> None:
        if self.fenced:
            raise Fenced(
                f"job {self.row.id}, attempt {self.row.attempt}: it was given to another run, or deleted; "
                f"{what}() wrote nothing"
            )
        if self.is_closed:
            raise ObanError(f"job {self.row.id}: {what}() was called after the end of its run")


class Journals(Protocol):
    """Opens the journals of runs, and ends them."""

    def open(self, row: Row) -> Journal:
        """A journal for the run of `row`."""
        ...

    async def close(self, journal: Journal) -> None:
        """Write what is left of it; the run has ended, and its outcome is written next."""
        ...


class Apart:
    """Keeps the journals of runs in memory, for a run that no node looks after.

    :param most: log lines of a run that are kept, the newest.
    """

    def __init__(self, most: int = 0) -> None:
        self._most = most

    def open(self, row: Row) -> Journal:
        return Journal(row, lambda journal: None, most=self._most, bounded=False)

    async def close(self, journal: Journal) -> None:
        journal.is_closed = True


APART = Apart()
