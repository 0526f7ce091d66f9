"""Fetching: the jobs that a producer may run next become its own.

The rows are found and locked by an ordered scan of the fetch index and then updated by id. The outer UPDATE does not
repeat the state: that would invite a second scan. What another transaction has locked is skipped.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
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
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.sql.dml import ReturningUpdate

from ..models.base import utc_now
from ..models.job import jobs
from .statement import array, ids, parameter, state, statement

FETCHED = (
    "id",
    "worker",
    "attempt",
    "max_attempts",
    "priority",
    "args",
    "meta",
    "errors",
    "tags",
    "inserted_at",
    "scheduled_at",
    "attempted_at",
    "cancelled_at",
    "completed_at",
    "discarded_at",
)
"""What a fetch returns of each job, in this order."""


def taking(free: Select[Any]) -> ReturningUpdate[Any]:
    """The jobs whose ids `free` selects begin an attempt, for ``attempted_by``."""
    taken = {
        jobs.c.state: state("executing"),
        jobs.c.attempt: jobs.c.attempt + 1,
        jobs.c.attempted_at: utc_now(),
        jobs.c.attempted_by: array("attempted_by"),
    }
    texts = {name: cast(jobs.c[name], Text).label(name) for name in ("args", "meta", "errors")}
    times = {name: _time(name).label(name) for name in FETCHED if name.endswith("_at")}
    plain = {name: type_coerce(jobs.c[name], Text).label(name) for name in ("worker",)}
    columns = [(texts | times | plain).get(name, jobs.c[name]) for name in FETCHED]
    return update(jobs).where(jobs.c.id == func.any(ids(free))).values(taken).returning(*columns)


_FIRST: ColumnElement[Any] = literal_column("timestamp '0001-01-01'")
_LAST: ColumnElement[Any] = literal_column("timestamp '9999-12-31'")
_MAY_BE_NULL = ("cancelled_at", "completed_at", "discarded_at")


def _time(name: str) -> ColumnElement[Any]:
    """The column where Python has such a time.

    PostgreSQL knows infinity, and years before 1 and after 9999. A driver that meets one fails when the fetch is
    already committed, and would again with every fetch.
    """
    value = type_coerce(jobs.c[name], DateTime())
    if name in _MAY_BE_NULL:
        return case((value.between(_FIRST, _LAST), value))
    return value if name == "attempted_at" else func.greatest(func.least(value, _LAST), _FIRST, type_=DateTime())


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
    """The same, from the job at `priority`, `scheduled_at`, `id` on.

    While a transaction stays open, the entries of all jobs fetched since lie dead at the front of the index, and every
    fetch from there reads them again.
    """
    place = tuple_(jobs.c.priority, jobs.c.scheduled_at, jobs.c.id)
    since = (parameter("priority", SmallInteger), parameter("scheduled_at", TIMESTAMP), parameter("id", BigInteger))
    return taking(_free().where(place >= tuple_(*since)))
