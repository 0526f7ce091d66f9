"""Staging: scheduled and retryable jobs become available when they are due. And what looks for work: the poll, and the
question whether a node has any."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Executable,
    Float,
    Integer,
    Select,
    Text,
    cast,
    column,
    exists,
    func,
    literal_column,
    null,
    select,
    union_all,
    update,
)

from ..models.base import utc_now
from ..models.job import jobs
from ..models.limits import rates
from .bulk import Bulk
from .cluster import is_locked
from .lead import holds_lease
from .rates import WHOLE_QUEUE
from .releases import has_news
from .rescue import ran_by
from .statement import array, ids, in_states, not_refused, parameter, seconds_from, state, statement

NEWS: ColumnElement[str] = literal_column("''", Text)
"""Instead of a queue's name: there are news of flows, batches, chains or signals."""


def _waits() -> ColumnElement[bool]:
    return in_states(jobs.c.state, "scheduled", "retryable")


def _queues() -> Any:
    return func.unnest(array("queues")).table_valued(column("name", Text)).render_derived(name="queues")


def _has_available(queue: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether a queue has available jobs, and is not suspended."""
    now = func.extract("epoch", func.clock_timestamp())
    suspended = exists().where(rates.c.queue == queue, rates.c.key == WHOLE_QUEUE, rates.c.until > now)
    return exists().where(jobs.c.state == state("available"), jobs.c.queue == queue) & ~suspended


def _due(which: ColumnElement[bool]) -> Select[tuple[int]]:
    return (
        select(jobs.c.id)
        .where(_waits(), jobs.c.scheduled_at <= utc_now(), which, not_refused(jobs.c.id))
        .order_by(jobs.c.scheduled_at, jobs.c.id)
        .limit(parameter("limit", Integer))
        .with_for_update(skip_locked=True)
    )


def _of_own() -> ColumnElement[bool]:
    return jobs.c.queue == func.any(array("queues"))


def _stage(due: Select[tuple[int]]) -> Executable:
    moved = (
        update(jobs)
        # As text: the staging index would else offer itself for the outer rows too, and be read from end to end.
        .where(jobs.c.id == func.any(ids(due)), in_states(cast(jobs.c.state, Text), "scheduled", "retryable"))
        .values(state=state("available"))
        .returning(jobs.c.queue)
        .cte("moved")
    )
    queues = _queues()
    staged = select(moved.c.queue, func.count()).group_by(moved.c.queue)
    polled = select(queues.c.name, literal_column("0", Integer)).where(_has_available(queues.c.name))
    # An infinite time, which only another program writes, can't be subtracted.
    next_due = select(func.min(jobs.c.scheduled_at)).where(
        _waits(), jobs.c.scheduled_at > utc_now(), func.isfinite(jobs.c.scheduled_at)
    )
    wait = func.extract("epoch", next_due.scalar_subquery() - utc_now())
    nothing, zero = cast(null(), Float), literal_column("0", Integer)
    told = select(NEWS, zero).where(has_news())
    return union_all(
        staged.add_columns(nothing),
        polled.add_columns(nothing),
        told.add_columns(nothing),
        select(cast(null(), Text), zero, wait),
    )


@statement
def stage_all() -> Executable:
    """Make up to `limit` due jobs of every queue available, for a leader; and :func:`poll`, in the same round trip.

    Rows of a queue, how many were staged in it, and null; also for each of `queues` that has available jobs, with 0.
    One row has a blank queue where there are news, and one has none: it says in how many seconds the next job is due
    (null: none waits).
    """
    return _stage(_due(holds_lease()))


@statement
def find_due() -> Executable:
    """The ids of the jobs that :func:`stage_all` would make available."""
    return _due(holds_lease())


@statement
def stage_own() -> Executable:
    """Stage the jobs of `queues` alone, for a node without a leader."""
    return _stage(_due(_of_own()))


@statement
def find_own_due() -> Executable:
    """The ids of the jobs that :func:`stage_own` would make available."""
    return _due(_of_own())


def _staged(rows: Sequence[Any]) -> int:
    return sum(staged for _, staged, _ in rows)


STAGE_ALL = Bulk(stage_all, find_due, count=_staged)
STAGE_OWN = Bulk(stage_own, find_own_due, count=_staged)


@statement
def poll() -> Executable:
    """Look after `queues`, in one statement for all of them: the net below all notifications.

    One row for each that has available jobs, a blank one where there are news, and one without a name when some of
    their jobs have been due for `grace` seconds: then no leader is staging.
    """
    queues = _queues()
    # In order, or the planner expects many and reads the whole table to find that there are none.
    late = jobs.c.scheduled_at <= utc_now() - seconds_from(parameter("grace", Float))
    overdue = (
        select(jobs.c.id)
        .where(_waits(), late, _of_own())
        .order_by(jobs.c.scheduled_at, jobs.c.id)
        .limit(1)
        .subquery("overdue")
    )
    available = select(queues.c.name).where(_has_available(queues.c.name))
    told = select(NEWS).where(has_news())
    return union_all(available, told, select(cast(null(), Text)).select_from(overdue))


@statement
def has_work() -> Executable:
    """Whether `queues` have a job that is due, or that the producers `uuids` or dead ones execute, or there are news.

    In one snapshot: the end of a job is news in the transaction of its ack, and is none in that of its releases.
    """
    due = exists().where(_waits(), jobs.c.scheduled_at <= utc_now(), _of_own())
    available = exists().where(jobs.c.state == state("available"), _of_own())
    ours_or_dead = (ran_by() == func.any(array("uuids"))) | ~is_locked(ran_by())
    executing = exists().where(jobs.c.state == state("executing"), _of_own(), ours_or_dead)
    return select(available | executing | due | has_news())
