"""Taking jobs one by one in a test's own transaction, across queues and ahead of their time."""

from typing import Any

from sqlalchemy import (
    TIMESTAMP,
    BigInteger,
    Boolean,
    ColumnElement,
    DateTime,
    Executable,
    Integer,
    Select,
    Text,
    and_,
    cast,
    exists,
    func,
    literal_column,
    or_,
    select,
    type_coerce,
)

from ..models.job import jobs
from ..types import UTCDateTime
from .fetch import taking
from .statement import array, in_states, parameter, state, statement


def _clock() -> ColumnElement[Any]:
    # Not now(): that stands still in a transaction, and a test's transaction lasts as long as the test.
    return func.timezone(literal_column("'UTC'"), func.clock_timestamp())


def _waits() -> ColumnElement[bool]:
    return in_states(jobs.c.state, "scheduled", "retryable")


def _chosen() -> ColumnElement[bool]:
    queues, among = array("queues"), array("among", BigInteger)
    return and_(
        jobs.c.attempt < jobs.c.max_attempts,
        or_(queues.is_(None), jobs.c.queue == func.any(queues)),
        or_(among.is_(None), jobs.c.id == func.any(among)),
    )


def _runnable() -> Select[Any]:
    until = parameter("until", DateTime)
    # As what it is: else it would be converted by the time zone of the test's session.
    time = type_coerce(func.coalesce(until, _clock()), UTCDateTime())
    due = and_(_waits(), jobs.c.scheduled_at <= time)
    return (
        select(jobs.c.id)
        .where(or_(jobs.c.state == state("available"), due), _chosen())
        .order_by(jobs.c.priority, jobs.c.scheduled_at, jobs.c.id)
    )


@statement
def runnable() -> Executable:
    """The ids of the jobs that may run now, or by `until`: of `queues` and `among` these ids (null: of all)."""
    return _runnable()


@statement
def take() -> Executable:
    """Take the first job that :data:`runnable` finds and that is not among `ran`. Returns its queue after the rest."""
    first = _runnable().where(jobs.c.id != func.all(array("ran", BigInteger))).limit(1)
    return taking(first.with_for_update(skip_locked=True)).returning(jobs.c.queue)


@statement
def take_with() -> Executable:
    """Take up to `limit` other jobs that :data:`runnable` finds and that run together with the job `leader`.

    Only those of its batch with `of_batch`, and of its workflow with `of_flow`.
    """
    leader = jobs.alias("leader")
    together = and_(
        leader.c.id == parameter("leader", BigInteger),
        leader.c.queue == jobs.c.queue,
        leader.c.chunk_key == jobs.c.chunk_key,
        or_(~parameter("of_batch", Boolean), leader.c.batch_id == jobs.c.batch_id),
        or_(~parameter("of_flow", Boolean), leader.c.workflow_id == jobs.c.workflow_id),
    )
    others = _runnable().where(
        jobs.c.id != func.all(array("ran", BigInteger)), exists().where(together).correlate(jobs)
    )
    return taking(others.limit(parameter("limit", Integer)).with_for_update(skip_locked=True)).returning(jobs.c.queue)


@statement
def callbacks_after() -> Executable:
    """The ids of the callbacks of batches that were inserted after the job `id`."""
    is_callback = jobs.c.meta.op("?")(literal_column("'callback'"))
    return select(jobs.c.id).where(jobs.c.id > parameter("id", BigInteger), is_callback).order_by(jobs.c.id)


@statement
def cancelled_since() -> Executable:
    """The ids of the chosen jobs that were cancelled at the time `since`, in naive UTC as text, or later."""
    later = type_coerce(jobs.c.cancelled_at, TIMESTAMP) >= cast(parameter("since"), TIMESTAMP)
    return select(jobs.c.id).where(jobs.c.state == state("cancelled"), later, _chosen())


@statement
def state_of() -> Executable:
    """The state of the job `id`."""
    return select(cast(jobs.c.state, Text)).where(jobs.c.id == parameter("id", BigInteger))


@statement
def next_due() -> Executable:
    """When the next of the chosen jobs that are not `left` is due: after `since`, up to `until`; null for none."""
    since, until = parameter("since", DateTime), parameter("until", DateTime)
    is_not_left = jobs.c.id != func.all(array("left", BigInteger))
    is_next = and_(jobs.c.scheduled_at > since, jobs.c.scheduled_at <= until, is_not_left)
    return select(func.min(jobs.c.scheduled_at)).where(_waits(), is_next, _chosen())


@statement
def begun_at() -> Executable:
    """When the transaction began, in naive UTC: from then delays are counted."""
    return select(func.timezone(literal_column("'UTC'"), func.now(), type_=DateTime()))
