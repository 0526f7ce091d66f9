"""Searching for jobs as people do: by what they remember, the newest first, and never longer than a moment.

A search walks an index in windows until it has found enough, has seen everything, or has used its time. It says how far
it looked, and goes on from there when it is asked to.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, cast, select
from sqlalchemy import literal as value
from sqlalchemy.orm import Session, defer
from sqlalchemy.types import Text

from ..errors import InvalidOption
from ..models import Job
from ..statements.search import Matches, Walk, last_error, tails, walk
from ..statements.statement import in_states
from .jobs import STATES, gist

FIRST_WINDOW = 20_000
LARGEST_WINDOW = 200_000
PATIENCE = 0.25
"""Seconds after which no further window is looked at."""
SLACK = 60.0
"""Seconds by which the order of ids and that of the times of insertion may differ."""
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
    :param patience: seconds after which it begins no further window.
    """
    walked, deadline = wanted.walk, time.monotonic() + patience
    cursor = None if after is None else tuple(after)
    size, looked = FIRST_WINDOW, 0
    found: list[tuple[Any, ...]] = []
    oldest = None if wanted.since is None else time.time() - wanted.since - SLACK
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
        if oldest is not None and walked.keys == ("id",) and at.timestamp() < oldest:
            return Found(ids, None, None, None)
        if time.monotonic() >= deadline:
            return Found(ids, cursor, looked, at)
        size = min(size * 2, LARGEST_WINDOW)


def load(connection: Connection, ids: Iterable[int]) -> list[Job]:
    """The jobs `ids`, in that order and without their errors; those that are gone are missing."""
    wanted = list(ids)
    with Session(connection) as session:
        query = select(Job).options(defer(Job.errors, raiseload=True)).where(Job.id.in_(wanted))
        found = {job.id: job for job in session.scalars(query)}
        session.expunge_all()
    return [found[id] for id in wanted if id in found]


def gists(connection: Connection, ids: Iterable[int]) -> dict[int, str]:
    """What the last errors of jobs say, in one line each, by id; jobs without errors are missing."""
    rows = tails.execute(connection, ids=list(ids))
    return {row.id: gist(row.tail) or "" for row in rows}


def contained(key: str, text: str) -> dict[str, Any]:
    """``{"a": {"b": 7}}`` of ``"a.b"`` and ``"7"``: the text is JSON, or else itself."""
    try:
        made: Any = json.loads(text, parse_constant=_refused)
    except ValueError:
        made = text
    for part in reversed(key.split(".")):
        made = {part: made}
    return made  # type: ignore[no-any-return]  # a key has one part at least, so it is a dict


def _since(wanted: Search, walked: Walk) -> Matches:
    if wanted.since is None or walked.ended is not None:
        return wanted.matches
    from_time = datetime.fromtimestamp(time.time() - wanted.since, UTC)

    def matches(rows: FromClause) -> list[ColumnElement[bool]]:
        inserted_at = rows.c.inserted_at
        return [*wanted.matches(rows), inserted_at >= value(from_time, inserted_at.type)]

    return matches


def _like(column: ColumnElement[str], pattern: str) -> ColumnElement[bool]:
    if "*" not in pattern:
        return column == pattern
    escaped = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_").replace("*", "%")
    return cast(column, Text).like(escaped)


def _refused(constant: str) -> Any:
    raise ValueError(constant)
