"""Searches for jobs by what a person remembers of them, the newest first, within a short time.

A search reads an index in windows until it has found enough jobs, has read everything, or has used up its time. It says
how far it has read, and a later search can go on from there.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, cast, inspect
from sqlalchemy import literal as value
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.types import Text

from ..errors import InvalidOption
from ..models import Job
from ..models.base import utc_now
from ..statements.insert import clock
from ..statements.search import Matches, Walk, last_error, listed, tails, walk
from ..statements.statement import in_states, seconds_from
from ..statements.times import TIMES
from ..telemetry.gist import gist
from .jobs import STATES
from .json_text import check_depth, json_or_text

FIRST_WINDOW = 20_000
"""Jobs in the first window."""
LARGEST_WINDOW = 200_000
"""Most jobs in a window."""
ERRORS_WINDOW = 4_000
"""Jobs in the first window of a search in errors. PostgreSQL stores errors apart from their rows, which is slow."""
PATIENCE = 0.1
"""Seconds that a search takes, about."""
SLACK = 60.0
"""Seconds by which the order of the ids may differ from the order of insertion."""
LARGEST_LISTED = 16_384
"""Most stored bytes of args, or meta, that are loaded for a list."""
FAILED = ("retryable", "discarded", "cancelled")
"""The states in which a search in errors looks."""


@dataclass(frozen=True, slots=True)
class Search:
    """The conditions of a search. Without conditions it finds all jobs.

    :param states: the job is in one of these states. Default: in any state.
    :param queue: the name of its queue. Default: any queue.
    :param worker: the name of its worker; ``*`` stands for any text. Default: any worker.
    :param tag: one of its tags. Default: any tags.
    :param node: the name of the node that ran it last. Default: any node.
    :param args: keys of its arguments, with their values; ``a.b`` is the key ``b`` inside ``a``. Default: any.
    :param meta: keys of its meta, with their values; ``a.b`` is the key ``b`` inside ``a``. Default: any.
    :param error: a part of its last error, in upper or lower case. Default: any error, or none.
    :param since: seconds within which it was inserted; within which it ended, if `states` is one final state. Default:
        any time.
    :param workflow: the id of its workflow. Default: any workflow, or none.
    :raises InvalidOption: for an unknown state.
    """

    states: tuple[str, ...] = ()
    queue: str | None = None
    worker: str | None = None
    tag: str | None = None
    node: str | None = None
    args: tuple[tuple[str, str], ...] = ()
    meta: tuple[tuple[str, str], ...] = ()
    error: str | None = None
    since: float | None = None
    workflow: int | None = None

    def __post_init__(self) -> None:
        for state in self.states:
            if state not in STATES:
                raise InvalidOption(f"expected a state, one of {', '.join(STATES)}; got {state!r}")

    @property
    def walk(self) -> Walk:
        """The order in which the search reads jobs."""
        return walk(self.states, self.queue, self.workflow)

    def matches(self, rows: FromClause) -> list[ColumnElement[bool]]:
        """The conditions for the rows of a window."""
        found: list[ColumnElement[bool]] = []
        if self.states:
            found.append(in_states(rows.c.state, *self.states))
        if self.queue is not None:
            found.append(rows.c.queue == self.queue)
        if self.worker is not None:
            found.append(_like(rows.c.worker, self.worker))
        if self.tag is not None:
            found.append(rows.c.tags.contains([self.tag]))
        if self.node is not None:
            found.append(rows.c.attempted_by[1] == self.node)
        found += [rows.c.args.contains(contained(key, text)) for key, text in self.args]
        found += [rows.c.meta.contains(contained(key, text)) for key, text in self.meta]
        if self.error is not None:
            found.append(in_states(rows.c.state, *FAILED))
            found.append(last_error(rows.c.errors).icontains(self.error, autoescape=True))
        return found


@dataclass(frozen=True, slots=True)
class Found:
    """What a search has found.

    :ivar ids: the ids of the jobs, in the order of the search.
    :ivar more: the place from which a search can go on; None when there is nothing left.
    :ivar looked: how many jobs it has read at least, when its time was used up; else None.
    :ivar back_to: when the last job that it has read was inserted, when its time was used up; else None.
    """

    ids: tuple[int, ...]
    more: tuple[Any, ...] | None
    looked: int | None
    back_to: datetime | None


def search(
    connection: Connection,
    wanted: Search,
    most: int,
    after: Sequence[Any] | None = None,
    *,
    patience: float = PATIENCE,
) -> Found:
    """Search for at most `most` jobs.

    :param after: the place from which to go on, as an earlier search gave it. Default: the beginning.
    :param patience: seconds that the search takes, about. After the first window, it begins none that would end later.
    """
    walked, began = wanted.walk, time.monotonic()
    cursor = None if after is None else tuple(after)
    smallest = FIRST_WINDOW if wanted.error is None else min(ERRORS_WINDOW, FIRST_WINDOW)
    size, looked = smallest, 0
    found: list[tuple[Any, ...]] = []
    oldest: datetime | None = None
    if wanted.since is not None:
        oldest = clock.execute(connection).scalar_one() - timedelta(seconds=wanted.since + SLACK)
    while True:
        window = walked.window(cursor, size, wanted.since)
        query = walked.found(window, _since(wanted, walked), most + 1 - len(found))
        found += [tuple(row) for row in connection.execute(query)]
        if len(found) > most:
            last = found[most - 1]
            return Found(tuple(key[-1] for key in found[:most]), last, None, None)
        ids = tuple(key[-1] for key in found)
        end = connection.execute(walked.end(window, size)).one_or_none()
        if end is None:
            return Found(ids, None, None, None)
        looked += size
        cursor, at = tuple(end[:-1]), end[-1]
        if oldest is not None and walked.keys == ("id",) and at < oldest:
            return Found(ids, None, None, None)
        spent = max(time.monotonic() - began, 0.000_1)
        size = min(size * 2, LARGEST_WINDOW, int(looked / spent * (patience - spent)))
        if size < smallest:
            return Found(ids, cursor, looked, at)


def load(connection: Connection, ids: Iterable[int]) -> list[Job]:
    """The jobs `ids`, in that order and without their errors; jobs that are gone are missing.

    Args and meta that are too large or too deep for a list are not loaded, see :func:`is_loaded`.
    """
    wanted = list(ids)
    found: dict[int, Job] = {}
    with Session(connection) as session:
        rows: Any = session.execute(listed(wanted, LARGEST_LISTED))
        for job, args, meta, *times in rows:
            found[job.id] = job
            give(job, "args", args)
            give(job, "meta", meta)
            set_times(job, times)
        session.expunge_all()
    return [found[id] for id in wanted if id in found]


def set_times(job: Job, times: Sequence[datetime | None]) -> None:
    """Set the times of a job."""
    for name, moment in zip(TIMES, times, strict=True):
        set_committed_value(job, name, moment)


def give(job: Job, name: str, text: str | None) -> None:
    """Set a JSON attribute from its text. It stays unloaded without a text, or when Python can't read it."""
    with contextlib.suppress(ValueError):
        if text is not None:
            check_depth(text)
            set_committed_value(job, name, json.loads(text))


def is_loaded(job: Job, name: str) -> bool:
    """Whether an attribute of a job is loaded."""
    return name not in inspect(job).unloaded


def gists(connection: Connection, ids: Iterable[int]) -> dict[int, str]:
    """The last errors of jobs, in one line each, by id; jobs without errors are missing."""
    rows = tails.execute(connection, ids=list(ids))
    return {row.id: gist(row.tail) or "" for row in rows}


def contained(key: str, text: str) -> dict[str, Any]:
    """``{"a": {"b": 7}}`` for the key ``"a.b"`` and the text ``"7"``, which is read as JSON if it is JSON."""
    made = json_or_text(text)
    for part in reversed(key.split(".")):
        made = {part: made}
    return made  # type: ignore[no-any-return]  # a key has one part at least, so it is a dict


def _since(wanted: Search, walked: Walk) -> Matches:
    if wanted.since is None or walked.ended is not None:
        return wanted.matches
    seconds = wanted.since

    def matches(rows: FromClause) -> list[ColumnElement[bool]]:
        return [*wanted.matches(rows), rows.c.inserted_at >= utc_now() - seconds_from(value(seconds))]

    return matches


def _like(column: ColumnElement[str], pattern: str) -> ColumnElement[bool]:
    if "*" not in pattern:
        return column == pattern
    escaped = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_").replace("*", "%")
    return cast(column, Text).like(escaped)
