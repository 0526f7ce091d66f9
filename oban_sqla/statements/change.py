"""Changing jobs from outside: cancel, retry, delete, update.

The rows are locked in the order of their ids, so that two such statements can't deadlock, and they wait for locks:
the caller wants to know that the change happened. Fetches and acks skip what is locked here. What changed while
it was waited for is judged by what it has become.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Executable,
    Select,
    SmallInteger,
    Text,
    Update,
    case,
    cast,
    delete,
    func,
    literal,
    literal_column,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql.dml import ReturningUpdate

from ..models.base import utc_now
from ..models.job import jobs
from ..models.kind import IN_META
from ..types import JobStateType
from .belongings import going_with
from .holding import holds_chain
from .marks import with_marks
from .partitions import unkeyed
from .statement import ids, in_states, state

Targets = list[int] | Select[Any]
"""Ids, or a select that gives ids."""

LARGEST_ATTEMPT = 32_767
"""What the column can hold."""

WAITING = ("available", "scheduled", "suspended", "retryable")
"""The states of jobs that wait; in these they can be updated, and cancelled at once."""

RETRIED = ("scheduled", "retryable", "completed", "discarded", "cancelled")
"""The states from which :func:`retry` takes jobs."""

_RECORD: ColumnElement[Any] = literal_column("'{recorded,return}'::text[]")

_COMPOSED: ColumnElement[bool] = or_(
    jobs.c.workflow_id.is_not(None), jobs.c.batch_id.is_not(None), jobs.c.chain_key.is_not(None)
).label("composed")
"""Whether the change may be news."""

_Change = ReturningUpdate[Any, Any, Any, Any]


def _is(*states: str) -> ColumnElement[bool]:
    # As text, so that the rows are found by their key and by no partial index.
    return in_states(cast(jobs.c.state, Text), *states)


def _among(targets: Targets) -> ColumnElement[bool]:
    return jobs.c.id == func.any(literal(targets, ARRAY(BigInteger)) if isinstance(targets, list) else ids(targets))


def _locked(targets: Targets, which: ColumnElement[bool]) -> ColumnElement[bool]:
    """Those of `targets` that are `which`, locked in order; tested again on what a wait for the lock has found."""
    found = select(jobs.c.id).where(_among(targets), which).order_by(jobs.c.id).with_for_update()
    return (jobs.c.id == func.any(ids(found))) & which


def _returned(statement: Update) -> _Change:
    told = [jobs.c.id, jobs.c.queue, cast(jobs.c.state, Text).label("state"), jobs.c.scheduled_at]
    return statement.returning(*told, _COMPOSED)


def cancel(targets: Targets) -> _Change:
    """What has not started is cancelled at once; what executes gets the mark that its node looks for."""
    executing = _is("executing")
    unmarked = executing & jobs.c.cancel_at.is_(None)
    values = {
        jobs.c.state: case((executing, jobs.c.state), else_=cast("cancelled", JobStateType)),
        jobs.c.cancelled_at: case((executing, jobs.c.cancelled_at), else_=utc_now()),
        jobs.c.cancel_at: case((executing, utc_now())),
    }
    which = _is(*WAITING) | unmarked | (_is("discarded") & holds_chain())
    return _returned(update(jobs).where(_locked(targets, which)).values(values))


def chained(targets: Targets) -> Executable:
    """Those of `targets` that wait for their turn in a chain."""
    which = _is(*WAITING) & jobs.c.chain_key.is_not(None)
    return select(jobs.c.id, jobs.c.worker, jobs.c.args, jobs.c.meta).where(_among(targets), which).order_by(jobs.c.id)


def retry(targets: Targets) -> _Change:
    """Make jobs available now, with an attempt to spend and without a recorded value.

    A key of uniqueness that was given up stays given up.
    """
    is_object = func.jsonb_typeof(jobs.c.meta) == "object"
    more = func.greatest(jobs.c.max_attempts, jobs.c.attempt + 1)
    values = {
        jobs.c.state: state("available"),
        jobs.c.max_attempts: cast(more, SmallInteger),
        jobs.c.scheduled_at: utc_now(),
        jobs.c.completed_at: null(),
        jobs.c.cancelled_at: null(),
        jobs.c.discarded_at: null(),
        jobs.c.cancel_at: null(),
        jobs.c.meta: case((is_object, jobs.c.meta.op("-")(_RECORD)), else_=jobs.c.meta),
    }
    which = _is(*RETRIED) & (jobs.c.attempt < literal_column(str(LARGEST_ATTEMPT)))
    return _returned(update(jobs).where(_locked(targets, which)).values(values))


def remove(targets: Targets) -> Select[Any]:
    """Delete what does not execute, with all that belongs to it."""
    gone = delete(jobs).where(_locked(targets, ~_is("executing"))).returning(jobs.c.id, _COMPOSED).cte("gone")
    return select(gone).add_cte(*going_with(gone))


def change(targets: Targets, values: dict[str, Any]) -> _Change:
    """Set columns of jobs that wait. A new time moves a job between available and scheduled."""
    set_: dict[Any, Any] = {jobs.c[name]: value for name, value in values.items()}
    if "meta" in values:
        set_[jobs.c.meta] = with_marks(literal(values["meta"], jobs.c.meta.type), jobs.c.meta, *IN_META)
        set_[jobs.c.partition_key] = unkeyed()
    if not {"args", "meta"}.isdisjoint(values):
        # Another key than that of the worker alone may be of what was there before.
        of_worker = literal_column("'0|'", Text) + cast(func.jsonb_build_array(jobs.c.worker), Text)
        set_[jobs.c.chunk_key] = case((jobs.c.chunk_key == of_worker, jobs.c.chunk_key))
    if "max_attempts" in values:
        # The table refuses less than was attempted already.
        set_[jobs.c.max_attempts] = func.greatest(values["max_attempts"], jobs.c.attempt, type_=SmallInteger)
    if "scheduled_at" in values:
        due = values["scheduled_at"] <= utc_now()
        moved = case(
            (_is("available") & ~due, "scheduled"),
            (_is("scheduled") & due, "available"),
            else_=cast(jobs.c.state, Text),
        )
        set_[jobs.c.state] = cast(moved, JobStateType)
    return _returned(update(jobs).where(_locked(targets, _is(*WAITING))).values(set_))


def workers_of(targets: Targets) -> Select[Any]:
    """The names of the workers of `targets`."""
    return select(jobs.c.worker).where(_among(targets)).distinct()
