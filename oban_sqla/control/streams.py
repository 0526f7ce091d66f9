"""Reading what a job tells while it runs: its events, live, and its log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy.ext.asyncio import AsyncEngine

from ..errors import InvalidOption
from ..models import Job, JobSpec
from ..models.checks import LARGEST_ID
from ..models.events import EventKind
from ..models.node import Node
from ..options.encryption import using
from ..runtime.journal.readers import Reader
from ..statements.journal import last_lines, lines_after
from ..types import FINISHED
from ..workers.sealing import opened_value
from .job_id import id_of
from .reading import read_again
from .verbs import Verbs

PAGE = 1_000
"""Events, or log lines, that are read at once."""
FIRST_WAIT = 0.02
LONGEST_WAIT = 0.5
"""Seconds between two looks for events of which nothing was heard; they grow by half."""
SOON_ENDED = 20
"""How often it looks without a growing pause, after the job has told its last event."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of the log of a job.

    :ivar number: its number in the log, from 1 on.
    :ivar at: when it was logged, an aware datetime.
    :ivar level: the name of its level, such as ``"INFO"``.
    :ivar logger: the name of the logger.
    :ivar message: the text, with the traceback of an exception.
    :ivar attempt: in which attempt of the job.
    """

    number: int
    at: datetime
    level: str
    logger: str
    message: str
    attempt: int


class StreamVerbs(Verbs):
    """The verbs of :class:`Oban` that read what a job tells."""

    def stream(self, target: JobSpec | Job | Node[Any] | int, after: int = 0) -> AsyncIterator[tuple[int, Any]]:
        """Read the events of a job in order, from any process, live, until the job has finished.

        ::

            async for number, value in oban.stream(job_id, after=last_number):
                ...

        A reader that was interrupted goes on with ``after``, and gets every event once. It learns of new events at once
        where notifications reach this node, and else looks for them, up to twice a second. An attempt that fails does
        not end it, if the job will be retried.

        :param target: a committed job: its id, a :class:`Job`, a flushed spec, or a node of a flushed workflow.
        :param after: the number of the last event that was read. Default 0: all events.
        :returns: an asynchronous iterator of pairs: the number of an event, from 1 on and without gaps, and its value.
            It ends when the job has finished, or is not there.
        :raises InvalidOption: for a target of another type, or a number that is not 0 or more.
        :raises KeyMissing: when no key opens an event of an encrypted job.
        :raises DatabaseUnavailable: when the database has not answered for 15 seconds. A shorter outage delays it.
        """
        return self._events(id_of("stream", target), _number("stream", after))

    async def logs(self, target: JobSpec | Job | Node[Any] | int, after: int = 0) -> list[LogLine]:
        """Read the log of a job, as far as it was kept: see :class:`JobLogs`.

        :param target: a committed job: its id, a :class:`Job`, a flushed spec, or a node of a flushed workflow.
        :param after: the number of the last line that is known already. Default 0: all lines.
        :returns: the lines, the oldest first; an empty list for a job without a log.
        :raises InvalidOption: for a target of another type, or a number that is not 0 or more.
        :raises KeyMissing: when no key opens a line of an encrypted job.
        :raises DatabaseUnavailable: when the database has not answered for 15 seconds.
        """
        job_id, last = id_of("logs", target), _number("logs", after)
        async with self._engines.here() as engine:
            return await read_log(engine, job_id, last)

    async def _events(self, job_id: int, after: int) -> AsyncGenerator[tuple[int, Any]]:
        async with self._engines.without_keys() as engine:
            with self._reading(job_id) as reader:
                wait, looks = FIRST_WAIT, SOON_ENDED
                while True:
                    rows = await _read(engine, job_id, EventKind.EVENT, after)
                    if not rows:
                        return
                    with using(self.config.encryption):
                        events = [(row.n, opened_value(row.worker, row.value)) for row in rows if row.n is not None]
                    for number, value in events:
                        after = number
                        yield number, value
                    if len(events) == PAGE:
                        continue
                    # Read in the same statement as the events: what it says is true after them.
                    if rows[0].state in FINISHED:
                        return
                    if events:
                        wait, looks = FIRST_WAIT, SOON_ENDED
                    if reader is None:
                        await asyncio.sleep(wait)
                    elif reader.may_have_ended and looks:
                        looks -= 1
                        await reader.wait(FIRST_WAIT)
                        continue
                    else:
                        await reader.wait(LONGEST_WAIT)
                    wait = min(wait * 1.5, LONGEST_WAIT)

    def _reading(self, job_id: int) -> AbstractContextManager[Reader | None]:
        """A reader that the node wakes, if there is one on this loop that hears of events."""
        node = self._node
        if node is None or not node.runs_here or not node.listens:
            return nullcontext()
        return node.readers.reading(job_id)


async def read_log(engine: AsyncEngine, job_id: int, after: int) -> list[LogLine]:
    """The lines of a job's log after this number."""
    lines: list[LogLine] = []
    while True:
        _, found = await log_page(engine, job_id, lines[-1].number if lines else after)
        lines += found
        if len(found) < PAGE:
            return lines


async def log_page(engine: AsyncEngine, job_id: int, after: int) -> tuple[str | None, list[LogLine]]:
    """The state of a job, and the next lines of its log; the state is None where there is no such job."""
    rows = await _read(engine, job_id, EventKind.LOG, after)
    lines = [line_of(row.n, row.at, opened_value(row.worker, row.value)) for row in rows if row.n is not None]
    return (rows[0].state if rows else None), lines


async def newest_lines(engine: AsyncEngine, job_id: int, most: int) -> list[LogLine]:
    """The last `most` lines of a job's log, the oldest first."""
    async with engine.connect() as connection:
        rows = (await connection.execute(last_lines(job_id, EventKind.LOG, most))).all()
    return [line_of(row.n, row.at, opened_value(row.worker, row.value)) for row in reversed(rows)]


def line_of(number: int, at: datetime, value: Any) -> LogLine:
    """A line as it is stored; other programs may have written anything."""
    parts = cast(dict[str, Any], value) if isinstance(value, dict) else {"message": str(value)}
    attempt = parts.get("attempt")
    level, logger, message = (str(parts.get(name, "")) for name in ("level", "logger", "message"))
    return LogLine(number, at, level, logger, message, attempt if isinstance(attempt, int) else 0)


async def _read(engine: AsyncEngine, job_id: int, kind: EventKind, after: int) -> Sequence[Any]:
    wanted = lines_after(job_id, kind, after, PAGE)
    what = f"stream of job {job_id}, after event {after}" if kind is EventKind.EVENT else f"log of job {job_id}"
    return await read_again(engine, lambda connection: connection.execute(wanted).all(), what)


def _number(what: str, after: object) -> int:
    if not isinstance(after, int) or isinstance(after, bool) or after < 0:
        raise InvalidOption(f"{what}: after is the number of the last one that was read, 0 or more, got {after!r}")
    return min(after, LARGEST_ID)
