"""Pruning batches: each goes as a whole, with its jobs, by the time at which it finished."""

from typing import Any

from sqlalchemy import ColumnElement, Executable, Float, Integer, Select, Subquery, delete, exists, func, or_, select

from ..models.base import utc_now
from ..models.batch import batches
from ..models.job import jobs
from ..options.prune import STATES
from .belongings import going_with
from .holding import holds_chain
from .lead import holds_lease
from .statement import ids, in_states, is_open, parameter, seconds_from, statement

AT_ONCE = 100
"""Batches that one statement deletes."""


def in_no_batch() -> ColumnElement[bool]:
    """Whether the job is pruned by itself. One whose batch is gone is."""
    return or_(jobs.c.batch_id.is_(None), ~exists().where(batches.c.id == jobs.c.batch_id))


@statement
def prune_batches() -> Executable:
    """Delete up to `limit` batches that finished more than `age` seconds ago, and their jobs. Returns two numbers: of
    jobs, and of batches."""
    return _pruned(belongings=False)


@statement
def prune_batches_and_belongings() -> Executable:
    """Prune batches with the rows in tables beside the jobs, for rounds in which there are some."""
    return _pruned(belongings=True)


def _pruned(belongings: bool) -> Executable:
    other = jobs.alias("other")
    unfinished = exists().where(
        other.c.batch_id == batches.c.id,
        other.c.batch_id.is_not(None),
        is_open(other.c.state),
    )
    # By itself: neither has its index otherwise.
    holding = exists().where(
        other.c.batch_id == batches.c.id,
        other.c.batch_id.is_not(None),
        other.c.chain_key.is_not(None),
        holds_chain(other),
    )
    chosen = (
        select(batches.c.id)
        .where(
            batches.c.finished_at < utc_now() - seconds_from(parameter("age", Float)),
            ~unfinished,
            ~holding,
            holds_lease(),
        )
        .order_by(batches.c.finished_at)
        .limit(parameter("limit", Integer))
        .with_for_update(skip_locked=True)
        .cte("chosen")
    )
    # A job that is being retried at this moment must not go: its row is locked, or is not finished any more once it is
    # looked at again to be locked. Then its batch stays whole, until a later round.
    finished = in_states(jobs.c.state, *STATES)
    held = (
        select(jobs.c.id, jobs.c.batch_id)
        .where(jobs.c.batch_id.in_(select(chosen.c.id)), finished)
        .with_for_update(skip_locked=True)
        .cte("held")
    )
    every = _by_batch(select(jobs.c.batch_id).where(jobs.c.batch_id.in_(select(chosen.c.id))), "every")
    locked = _by_batch(select(held.c.batch_id), "locked")
    whole = (
        select(chosen.c.id)
        .select_from(chosen.outerjoin(every, every.c.id == chosen.c.id).outerjoin(locked, locked.c.id == chosen.c.id))
        .where(every.c.number.is_not_distinct_from(locked.c.number))
        .cte("whole")
    )
    mine = ids(select(held.c.id).where(held.c.batch_id.in_(select(whole.c.id))))
    gone = delete(jobs).where(jobs.c.id == func.any(mine)).returning(jobs.c.id).cte("gone")
    rows = delete(batches).where(batches.c.id.in_(select(whole.c.id))).returning(batches.c.id).cte("batches_gone")
    count = select(func.count()).select_from(gone).scalar_subquery()
    counted = select(count, select(func.count()).select_from(rows).scalar_subquery())
    return counted.add_cte(*going_with(gone)) if belongings else counted


def _by_batch(of: Select[Any], name: str) -> Subquery:
    """The number of the jobs in `of`, a select of their batches, by batch."""
    [batch] = of.selected_columns
    return of.with_only_columns(batch.label("id"), func.count().label("number")).group_by(batch).subquery(name)
