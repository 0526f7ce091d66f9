"""Searching for jobs as people do: by what they remember, the newest first, and never longer than a moment.

A search walks an index in windows until it has found enough, has seen everything, or has used its time. It says how far
it looked, and goes on from there when it is asked to.
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
LARGEST_WINDOW = 200_000
ERRORS_WINDOW = 4_000
"""The first window of a search in errors, which lie outside of their rows: each costs as much as twenty others."""
PATIENCE = 0.1
"""Seconds that a search takes, about."""
SLACK = 60.0
"""Seconds by which the order of ids and that of the times of insertion may differ."""
LARGEST_LISTED = 16_384
"""Bytes in the table that the args of a job in a list may take."""
FAILED = ("retryable", "discarded", "cancelled")


@dataclass(frozen=True, slots=True)
class Search:
    """What is searched for. Without any of these it is all jobs.

    :param states: in one of which a job is. Default: in any.
    :param queue: the name of its queue. Default: any.
    :param worker: the name of its worker; ``*`` is any part of it. Default: any.
    :param tag: one of its tags. Default: any.
    :param node: the name of the node that ran it last. Default: any.
    :param args: keys of its arguments and their values; a key with dots lies deeper. Default: any.
    :param meta: the same of its meta. Default: any.
    :param error: a part of its last error, in any case. Default: any.
    :param since: seconds within which it was inserted, or ended where only one final state is sought. Default: any.
    :param workflow: the id of its workflow. Default: any.
    :raises InvalidOption: for a state that jobs don't have.
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
        """The order in which it looks."""
        return walk(self.states, self.queue, self.workflow)

    def matches(self, rows: FromClause) -> list[ColumnElement[bool]]:
        """The conditions of the rows of a window."""
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
    """What a search found.

    :ivar ids: of the jobs, in the order of the search.
    :ivar more: the place behind the last of them, to go on from; None where there is nothing behind it.
    :ivar looked: through how many jobs it looked at least; None where it has seen all of them.
    :ivar back_to: when the last job that it looked at was inserted; None where it has seen all of them.
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

    :param after: the place to go on from, as an earlier search gave it. Default: from the beginning on.
    :param patience: seconds that it takes, about: no window is begun that would end later, after the first.
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
    """The jobs `ids`, in that order and without their errors; those that are gone are missing.

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
    """Set an attribute of JSON from its text, if there is one that Python can read."""
    with contextlib.suppress(ValueError):
        if text is not None:
            check_depth(text)
            set_committed_value(job, name, json.loads(text))


def is_loaded(job: Job, name: str) -> bool:
    """Whether an attribute of a job can be read."""
    return name not in inspect(job).unloaded


def gists(connection: Connection, ids: Iterable[int]) -> dict[int, str]:
    """What the last errors of jobs say, in one line each, by id; jobs without errors are missing."""
    rows = tails.execute(connection, ids=list(ids))
    return {row.id: gist(row.tail) or "" for row in rows}


def contained(key: str, text: str) -> dict[str, Any]:
    """``{"a": {"b": 7}}`` of ``"a.b"`` and ``"7"``: the text is JSON, or else itself."""
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
