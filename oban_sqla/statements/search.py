"""Searching among jobs whatever their number: one window of an index after the other.

A window is a part of the jobs in the order of an index. Of its rows those that match are taken; where there are too
few, the search goes on behind the window, as long as it has time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from typing import cast as cast_to

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Executable,
    FromClause,
    Select,
    Text,
    case,
    cast,
    column,
    func,
    select,
    tuple_,
)
from sqlalchemy import literal as value
from sqlalchemy.dialects.postgresql import JSONB, aggregate_order_by
from sqlalchemy.orm import defer

from ..models import Job
from ..models.base import utc_now
from ..models.job import jobs
from .statement import array, in_states, seconds_from, statement
from .times import TIMES, readable

Matches = Callable[[FromClause], Sequence[ColumnElement[bool]]]
"""Makes of the rows of a window the conditions of those that match."""

_WINDOWED = ("id", "state", "queue", "worker", "args", "meta", "tags", "errors", "attempted_by", "inserted_at")
_LONGEST_TAIL = 1_000


@dataclass(frozen=True, slots=True)
class Walk:
    """An order in which an index gives jobs.

    :ivar keys: the names of the columns that order them; the last one is ``id``.
    :ivar descending: whether the order is from the last to the first.
    :ivar states: in one of which each of them is; empty: in any.
    :ivar queue: of which all of them are, when the index begins with it; None: of any.
    :ivar workflow: the id of the workflow of which all of them are; None: of any or none.
    """

    keys: tuple[str, ...]
    descending: bool
    states: tuple[str, ...] = ()
    queue: str | None = None
    workflow: int | None = None

    @property
    def ended(self) -> str | None:
        """The name of the first key, where that is the time at which the jobs ended."""
        return self.keys[0] if self.descending and len(self.keys) > 1 else None

    def window(self, cursor: Sequence[Any] | None, size: int, since: float | None) -> Select[Any]:
        """The next `size` jobs behind the one with the keys `cursor`.

        :param since: seconds; of jobs in the order of their end only those that ended within them.
        """
        keys = [jobs.c[name] for name in self.keys]
        labelled = [key.label(f"key_{number}") for number, key in enumerate(keys)]
        query = select(*(jobs.c[name] for name in _WINDOWED), *labelled).limit(size)
        query = query.order_by(*(key.desc() if self.descending else key for key in keys))
        if self.states:
            query = query.where(in_states(jobs.c.state, *self.states))
        if self.queue is not None:
            query = query.where(jobs.c.queue == self.queue)
        if self.workflow is not None:
            query = query.where(jobs.c.workflow_id == self.workflow)
        if since is not None and self.ended is not None:
            query = query.where(keys[0] > utc_now() - seconds_from(value(since)))
        if cursor is not None:
            given = tuple_(*(value(part, key.type) for part, key in zip(cursor, keys, strict=True)))
            query = query.where(tuple_(*keys) < given if self.descending else tuple_(*keys) > given)
        return query

    def found(self, window: Select[Any], matches: Matches, most: int) -> Select[Any]:
        """The keys of the first `most` jobs of a window that match."""
        rows = window.subquery("walked")
        keys = self._keys(rows)
        ordered = (key.desc() if self.descending else key for key in keys)
        return select(*keys).where(*matches(rows)).order_by(*ordered).limit(most)

    def end(self, window: Select[Any], size: int) -> Select[Any]:
        """The keys of the last job of a window that is full, and when it was inserted; no row for one that is not."""
        rows = window.subquery("walked")
        keys = self._keys(rows)
        ordered = (key.desc() if self.descending else key for key in keys)
        return select(*keys, rows.c.inserted_at).order_by(*ordered).offset(size - 1).limit(1)

    def _keys(self, rows: FromClause) -> list[ColumnElement[Any]]:
        return [rows.c[f"key_{number}"] for number in range(len(self.keys))]


def walk(states: Sequence[str], queue: str | None, workflow: int | None) -> Walk:
    """The order that suits a search for jobs in `states` of `queue` or of a `workflow`."""
    if workflow is not None:
        return Walk(("id",), descending=True, workflow=workflow)
    match states:
        case ["completed" | "cancelled" | "discarded" as ended]:
            return Walk((f"{ended}_at", "id"), descending=True, states=(ended,))
        case ["scheduled" | "retryable"]:
            return Walk(("scheduled_at", "id"), descending=False, states=("scheduled", "retryable"))
        case ["executing" | "suspended" as alone]:
            return Walk(("id",), descending=True, states=(alone,))
        case ["available"] if queue is not None:
            return Walk(("priority", "scheduled_at", "id"), descending=False, states=("available",), queue=queue)
        case _:
            return Walk(("id",), descending=True)


def last_error(errors: ColumnElement[Any]) -> ColumnElement[str]:
    """What the last of a job's `errors` says."""
    # By operators: the form of subscripts depends on SQLAlchemy's version.
    last: ColumnElement[Any] = errors.op("->")(value(-1))
    return last.op("->>", return_type=Text())(value("error"))


@statement
def tails() -> Executable:
    """The ends of the last errors of the jobs `ids`; those without an error have no row."""
    tail = func.right(last_error(jobs.c.errors), _LONGEST_TAIL)
    asked = jobs.c.id == func.any(array("ids", BigInteger))
    return select(jobs.c.id, tail.label("tail")).where(asked, last_error(jobs.c.errors).is_not(None))


def last_texts(ids: Sequence[int], most: int) -> Select[Any]:
    """What the last errors of the jobs `ids` say, each the last `most` characters, and how many there are."""
    said = last_error(jobs.c.errors)
    columns = (jobs.c.id, func.right(said, most).label("text"), func.length(said).label("length"))
    query = cast_to("Select[Any]", select(*columns))
    return query.where(jobs.c.id.in_(ids), said.is_not(None))


def as_text(id: int, most: int, attempts: int, error: int) -> Select[Any]:
    """The args and meta of a job as the database has them, because Python's numbers are not exact: the first `most`
    characters of each, and how many there are. And the last `attempts` of its errors, the last one first, as a JSON
    array of texts, each with the last `error` characters."""
    columns: list[Any] = []
    for name in ("args", "meta"):
        text = cast(jobs.c[name], Text)
        columns += [func.left(text, most).label(name), func.length(text).label(f"{name}_length")]
    entries = _entries(attempts).correlate(jobs).subquery("entries")
    one, own = entries.c.entry, entries.c.entry.op("->>", return_type=Text())
    message = func.coalesce(own(value("error")), cast(one, Text))
    rows = func.jsonb_build_array(
        func.left(own(value("attempt")), 20), func.left(own(value("at")), 40), func.right(message, error),
        func.length(message),
    )  # fmt: skip
    errors: Any = select(cast(func.jsonb_agg(aggregate_order_by(rows, entries.c.place.desc())), Text))
    query = cast_to("Select[Any]", select(*columns, errors.scalar_subquery().label("errors")))
    return query.where(jobs.c.id == id)


def _entries(most: int) -> Select[Any]:
    """The last `most` entries of a job's errors, each with its place."""
    given = case((func.jsonb_typeof(jobs.c.errors) == value("array"), jobs.c.errors), else_=func.jsonb_build_array())
    each = func.jsonb_array_elements(given).table_valued(column("entry", JSONB), with_ordinality="place")
    each = each.render_derived(name="each")
    query = cast_to("Select[Any]", select(each.c.entry, each.c.place))
    return query.order_by(each.c.place.desc()).limit(most)


def listed(ids: Sequence[int], largest: int) -> Select[Any]:
    """Jobs without their times, args, meta and errors; the args and meta as text, null where they take more than
    `largest` bytes in the table; and the times, see :data:`TIMES`."""
    texts: list[Any] = [
        case((func.pg_column_size(jobs.c[name]) <= largest, cast(jobs.c[name], Text))).label(f"{name}_text")
        for name in ("args", "meta")
    ]
    query = cast_to("Select[Any]", select(Job, *texts, *(readable(jobs.c[name]) for name in TIMES)))
    return query.options(*without(*TIMES, "args", "meta", "errors")).where(Job.id.in_(ids))


def without(*attributes: str) -> list[Any]:
    """Options of a query that does not load these attributes of a job."""
    return [defer(getattr(Job, name), raiseload=True) for name in attributes]
