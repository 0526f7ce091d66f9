"""Staging: scheduled and retryable jobs become available when they are due."""

from sqlalchemy import (
    ColumnElement,
    Executable,
    Float,
    Integer,
    Text,
    cast,
    column,
    exists,
    func,
    literal_column,
    null,
    or_,
    select,
    update,
)

from ..models.base import utc_now
from ..models.job import jobs
from .statement import array, ids, parameter, state, statement


def _waits() -> ColumnElement[bool]:
    return jobs.c.state.in_([state("scheduled"), state("retryable")])


@statement
def stage() -> Executable:
    """Make up to `limit` due jobs of `queues` available, and look after the queues in the same round trip.

    One row a queue that has available jobs: its name, how many were staged in it; and one with a null name, which
    says in how many seconds the next job of any queue is due (null: none waits).
    """
    due = (
        select(jobs.c.id)
        .where(_waits(), jobs.c.scheduled_at <= utc_now(), jobs.c.queue == func.any(array("queues")))
        .order_by(jobs.c.scheduled_at, jobs.c.id)
        .limit(parameter("limit", Integer))
        .with_for_update(skip_locked=True)
    )
    moved = (
        update(jobs)
        .where(jobs.c.id == func.any(ids(due)), _waits())
        .values(state=state("available"))
        .returning(jobs.c.queue)
        .cte("moved")
    )
    queues = func.unnest(array("queues")).table_valued(column("name", Text)).render_derived(name="queues")
    name = queues.c.name
    staged = select(func.count()).where(moved.c.queue == name).scalar_subquery()
    ready = exists().where(jobs.c.state == state("available"), jobs.c.queue == name)
    wait = select(func.extract("epoch", func.min(jobs.c.scheduled_at) - utc_now())).where(
        _waits(), jobs.c.scheduled_at > utc_now()
    )
    found = select(name, staged.label("staged"), cast(null(), Float).label("wait")).where(or_(ready, staged > 0))
    return found.union_all(select(cast(null(), Text), literal_column("0"), cast(wait.scalar_subquery(), Float)))
