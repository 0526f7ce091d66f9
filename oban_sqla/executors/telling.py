"""What a job in another process tells: its progress, events and log lines, on their way to the journal of its node.

A child sends what it has gathered within some milliseconds, and sends no more before the node has taken that. So a node
that is slow to write makes the job wait, as it does for jobs inside the node.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from ..errors import Fenced, ObanError
from ..runtime.journal.journal import Journal
from ..runtime.journal.line import merged
from ..runtime.row import Row

GATHER = 0.02
"""Seconds for which a child gathers before it sends."""
MOST = 1_000
"""Events, and lines, in one frame."""
MOST_BYTES = 4_194_304
"""Characters of events in one frame; the last event may exceed it."""
LAST_WORDS = 35.0
"""Seconds that a child waits for its node, which itself waits for the database."""
LOOK_EVERY = 0.005
"""Seconds between two looks whether the journal has room."""


def taken(journal: Journal, *, most: int = MOST, most_bytes: int = MOST_BYTES) -> dict[str, Any]:
    """Take out of `journal` what waits there, as JSON."""
    journal.marks.clear()
    events: list[tuple[float, str]] = []
    size = 0
    for moment, text in journal.events[:most]:
        events.append((moment, text))
        size += len(text)
        if size > most_bytes:
            break
    journal.wrote_events(len(events))
    lines = list(journal.take_lines(most))
    journal.wrote_lines(len(lines))
    note = journal.take_note()
    journal.wrote_note()
    return {
        "events": events,
        "lines": [(*line[:4], merged(*line[4:])) for line in lines],
        "note": note,
    }


class Telling:
    """The journals of a child, which its node writes.

    :param send: sends what was told; the node answers each time, see :meth:`answered`.
    :param most_lines: most log lines that wait to be sent; of more, the newest are kept.
    """

    def __init__(self, send: Callable[[dict[str, Any]], None], most_lines: int) -> None:
        # Given, and never written again.
        self._send = send
        self._most_lines = most_lines
        # Set when there is something to send, and when the node has taken what was sent.
        self._touched = threading.Event()
        self._answered = threading.Event()
        # The journal of the run under way: written by open(). A child runs one call at a time.
        self._journal: Journal | None = None
        # Sends what runs tell; made with the first journal.
        self._thread: threading.Thread | None = None
        # Held from a frame to its answer, so that only one frame is under way.
        self._sending = threading.Lock()

    def open(self, row: Row) -> Journal:
        """A journal for the run of `row`."""
        self._journal = journal = Journal(row, lambda _: self._touched.set(), most=self._most_lines)
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="oban-sqla telling", daemon=True)
            self._thread.start()
        return journal

    async def close(self, journal: Journal) -> None:
        """Send what is left, and wait until the node has written it. This blocks, because the run has ended."""
        journal.is_closed = True
        while self._send_next(journal):
            pass
        with self._sending:
            self._ask({"last": True, **taken(journal)})

    def answered(self, fields: dict[str, Any]) -> None:
        """The node has taken what was sent."""
        if fields.get("fenced") and (journal := self._journal) is not None:
            journal.fence()
        self._answered.set()

    def _serve(self) -> None:
        while True:
            self._touched.wait()
            time.sleep(GATHER)  # what comes in the meantime is sent together
            self._touched.clear()
            if (journal := self._journal) is not None and not journal.is_closed:
                self._send_next(journal)
                if not journal.is_empty:
                    self._touched.set()

    def _send_next(self, journal: Journal) -> bool:
        """Send the next part, and say whether there was one."""
        with self._sending:
            if journal.is_empty:
                return False
            self._ask(taken(journal))
            return True

    def _ask(self, told: dict[str, Any]) -> None:
        """Send a frame, and wait for its answer."""
        self._answered.clear()
        self._send(told)
        self._answered.wait(LAST_WORDS)


class Hearing(Protocol):
    """A run in the node whose job runs in another process."""

    @property
    def journal(self) -> Journal: ...

    async def end_journal(self) -> None: ...


async def heard(run: Hearing, told: dict[str, Any]) -> bool:
    """Put what the job of `run` has told into the journal of its node, as soon as there is room.

    :returns: whether the run still has its job.
    """
    journal = run.journal
    try:
        for moment, text in told["events"]:
            while journal.is_full:  # noqa: ASYNC110 (nothing tells when there is room)
                await asyncio.sleep(LOOK_EVERY)
            journal.emit(text, moment)
        if told["note"] is not None:
            journal.say(*told["note"])
    except Fenced:
        return False
    except ObanError:
        return True  # the run has ended here
    for index, moment, level, name, message in told["lines"]:
        journal.log(moment, level, name, message, skipped=index - journal.logged - 1)
    if told.get("last"):
        await run.end_journal()
    return not journal.fenced
