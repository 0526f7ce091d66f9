"""Fetching: the jobs that a producer may run next become its own.

The rows are found and locked by an ordered scan of the fetch index and then updated by id. The outer UPDATE does not
repeat the state: that would invite a second scan. What another transaction has locked is skipped.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    DateTime,
    Executable,
    Integer,
    Select,
    SmallInteger,
    Text,
    case,
    cast,
    func,
    literal_column,
    select,
    tuple_,
    type_coerce,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.sql.dml import ReturningUpdate

from ..models.base import utc_now
from ..models.job import jobs, names
from ..types import UTCDateTime, WorkerName
from .bulk import Bulk
from .statement import array, ids, not_refused, parameter, state, statement
from .times import FIRST, LAST

_KNOWN = ("state", "queue", "attempted_by")
"""Columns of a job whose values follow from the fetch itself."""

F = TypeVar("F")


def _with_every_column(row: type[F]) -> type[F]:
    """Add the columns of :class:`Job` that only its table names."""
    declared = row.__annotations__
    row.__annotations__ = {name: declared.get(name, "Any") for name in names([*declared], without=_KNOWN)}
    return row


@dataclass(slots=True, eq=False, repr=False)
@_with_every_column
class Fetched:
    """What a fetch returns of each job, in this order. JSON stays text."""

    id: int
    worker: str
    attempt: int
    max_attempts: int
    priority: int
    args: str
    meta: str
    errors: str
    tags: list[str]
    inserted_at: datetime
    scheduled_at: datetime
    attempted_at: datetime
    cancelled_at: datetime | None
    completed_at: datetime | None
    discarded_at: datetime | None
    workflow_id: int | None
    node_name: str | None
    batch_id: int | None
    chain_key: str | None


FETCHED = tuple(field.name for field in fields(Fetched))


def taking(free: Select[Any]) -> ReturningUpdate[Any]:
    """The jobs whose ids `free` selects begin an attempt, for ``attempted_by``."""
    taken = {
        jobs.c.state: state("executing"),
        jobs.c.attempt: jobs.c.attempt + 1,
        jobs.c.attempted_at: utc_now(),
        jobs.c.attempted_by: array("attempted_by"),
    }
    returned = [_returned(jobs.c[name], jobs.c[name]) for name in FETCHED]
    return update(jobs).where(jobs.c.id == func.any(ids(free))).values(taken).returning(*returned)


def taken(job: str) -> list[ColumnElement[Any]]:
    """The columns of :data:`FETCHED` of a value that is a whole row of ``oban_jobs``.

    :param job: the value, as SQL.
    """
    columns = (jobs.c[name] for name in FETCHED)
    return [_returned(column, literal_column(f"({job}).{column.name}", column.type)) for column in columns]


def _returned(column: Column[Any], value: ColumnElement[Any]) -> ColumnElement[Any]:
    match column.type:
        case JSONB():
            return cast(value, Text).label(column.name)
        case UTCDateTime():
            return _time(column, value).label(column.name)
        case WorkerName():
            return type_coerce(value, Text).label(column.name)
        case _:
            return value if value is column else value.label(column.name)


def _time(column: Column[Any], value: ColumnElement[Any]) -> ColumnElement[Any]:
    """The value of the column where Python has such a time.

    PostgreSQL knows infinity, and years before 1 and after 9999. A driver that meets one fails when the fetch is
    already committed, and would again with every fetch.
    """
    value = type_coerce(value, DateTime())
    if column is jobs.c.attempted_at:  # set by this very statement
        return value
    if column.nullable:
        return case((value.between(FIRST, LAST), value))
    return func.greatest(func.least(value, LAST), FIRST, type_=DateTime())


def _free() -> Select[Any]:
    return (
        select(jobs.c.id)
        .where(
            jobs.c.state == state("available"),
            jobs.c.queue == parameter("queue"),
            jobs.c.attempt < jobs.c.max_attempts,
            jobs.c.worker != func.all(array("unknown")),
        )
        .order_by(jobs.c.priority, jobs.c.scheduled_at, jobs.c.id)
        .limit(parameter("limit", Integer))
        .with_for_update(skip_locked=True)
    )


@statement
def fetch() -> Executable:
    """Take up to `limit` jobs of `queue` for `attempted_by`, in no particular order.

    A job with no attempt left is passed over (the lifeline discards it), and so is a worker of `unknown`.
    """
    return taking(_free())


@statement
def fetch_onward() -> Executable:
    """Fetch from the job at `priority`, `scheduled_at`, `id` on.

    While a transaction stays open, the entries of all jobs fetched since lie dead at the front of the index, and every
    fetch from there reads them again.
    """
    place = tuple_(jobs.c.priority, jobs.c.scheduled_at, jobs.c.id)
    since = (parameter("priority", SmallInteger), parameter("scheduled_at", TIMESTAMP), parameter("id", BigInteger))
    return taking(_free().where(place >= tuple_(*since)))


def _free_and_not_refused() -> Select[Any]:
    return _free().where(not_refused(jobs.c.id))


@statement
def fetch_others() -> Executable:
    """As :func:`fetch`, without the jobs of `refused`."""
    return taking(_free_and_not_refused())


@statement
def find_free() -> Executable:
    """The ids of the jobs that :func:`fetch_others` would take."""
    return _free_and_not_refused()


def _of_chunk() -> Select[Any]:
    key = select(jobs.c.chunk_key).where(jobs.c.id == parameter("leader", BigInteger)).scalar_subquery()
    return (
        select(jobs.c.id)
        .where(
            jobs.c.state == state("available"),
            jobs.c.queue == parameter("queue"),
            jobs.c.chunk_key == key,
            jobs.c.attempt < jobs.c.max_attempts,
            jobs.c.worker != func.all(array("unknown")),
        )
        .order_by(jobs.c.chunk_key, jobs.c.priority, jobs.c.scheduled_at, jobs.c.id)
        .limit(parameter("limit", Integer))
        .with_for_update(skip_locked=True)
    )


@statement
def fetch_chunk() -> Executable:
    """Take up to `limit` jobs that run together with the job `leader`, through the index of chunks."""
    return taking(_of_chunk())


@statement
def fetch_other_chunk() -> Executable:
    """As :func:`fetch_chunk`, without the jobs of `refused`."""
    return taking(_of_chunk().where(not_refused(jobs.c.id)))


@statement
def find_chunk() -> Executable:
    """The ids of the jobs that :func:`fetch_other_chunk` would take."""
    return _of_chunk().where(not_refused(jobs.c.id))


FETCH_CHUNK = Bulk(fetch_other_chunk, find_chunk, plain=fetch_chunk)
FETCH = Bulk(fetch_others, find_free, plain=fetch)
FETCH_ONWARD = Bulk(fetch_others, find_free, plain=fetch_onward)
"""From the front of the queue, once a job was refused."""
