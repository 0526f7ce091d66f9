"""Pruning: finished jobs are deleted, a batch at a time.

One statement a policy and state, so that each walks the small index of that state from its old end, and stops at what
is young. Locked rows are passed over, and a node that leads no more deletes nothing.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Executable,
    Integer,
    Select,
    Table,
    Text,
    and_,
    case,
    delete,
    exists,
    func,
    literal,
    not_,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from ..models.base import utc_now
from ..models.belongings import BELONGINGS
from ..models.job import jobs
from ..models.workflow import workflows
from ..options.policy import JobPolicy
from ..options.prune import STATES, PrunePolicy
from .belongings import going_in_ranges
from .bulk import Bulk
from .holding import holds_chain
from .lead import holds_lease
from .prune_batches import in_no_batch
from .statement import ids, is_open, not_refused, parameter, seconds_from, state, statement


def statements(policies: Sequence[PrunePolicy], belongings: Sequence[Table] = BELONGINGS) -> list[Bulk]:
    """What prunes by `policies`, of which the first that applies to a job decides.

    Each deletes up to `limit` jobs and returns their number.

    :param belongings: the tables that have rows of jobs; the time to look into the others is saved. Default: all.
    """
    made: list[Bulk] = []
    for name in STATES:
        earlier: list[ColumnElement[bool]] = []
        for policy in policies:
            if name not in policy.states:
                continue
            theirs = and_(applies(policy), *(not_(other) for other in earlier))
            earlier.append(applies(policy))
            if policy.age is not None:
                made.append(_pruning(_older(name, theirs, policy.age), belongings))
            if policy.max_count is not None:
                made.append(_pruning(_beyond(name, theirs, policy.max_count), belongings))
    return made


def _unstamped() -> ColumnElement[Any]:
    found = [
        select(jobs.c.id)
        .where(jobs.c.state == state(name), jobs.c[f"{name}_at"].is_(None), holds_lease(), not_refused(jobs.c.id))
        .limit(parameter("limit", Integer))
        .with_for_update(skip_locked=True)
        for name in STATES
    ]
    every = ids(found[0])
    for more in found[1:]:
        every = func.array_cat(every, ids(more), type_=ARRAY(BigInteger))
    return every


@statement
def stamp() -> Executable:
    """Give finished jobs without a time of finishing this one, or they would stay for ever.

    None of ours is like that: other programs wrote them. Returns their ids.
    """
    times = {
        jobs.c[f"{name}_at"]: case((jobs.c.state == state(name), utc_now()), else_=jobs.c[f"{name}_at"])
        for name in STATES
    }
    return update(jobs).where(jobs.c.id == func.any(_unstamped())).values(times).returning(jobs.c.id)


@statement
def find_unstamped() -> Executable:
    """The ids of the jobs that :func:`stamp` would change."""
    return select(func.unnest(_unstamped()).label("id")).limit(parameter("limit", Integer))


STAMP = Bulk(stamp, find_unstamped)


def _pruning(chosen: Select[tuple[int]], belongings: Sequence[Table]) -> Bulk:
    locked = (
        chosen.where(holds_lease(), _in_nothing_unfinished(), in_no_batch(), ~holds_chain(), not_refused(jobs.c.id))
        .limit(parameter("limit", Integer))
        .with_for_update(skip_locked=True)
    )

    @statement
    def prune() -> Executable:
        """Delete up to `limit` jobs. Returns their number."""
        gone = delete(jobs).where(jobs.c.id == func.any(ids(locked))).returning(jobs.c.id).cte("gone")
        counted = select(func.count()).select_from(gone)
        return counted.add_cte(*going_in_ranges(gone, belongings)) if belongings else counted

    @statement
    def find() -> Executable:
        """The ids of the jobs that :func:`prune` would delete."""
        return locked

    return Bulk(prune, find, count=_deleted)


def _deleted(rows: Sequence[Any]) -> int:
    [(count,)] = rows
    return int(count)


def _older(name: str, theirs: ColumnElement[bool], age: float) -> Select[tuple[int]]:
    finished_at = jobs.c[f"{name}_at"]
    old = finished_at < utc_now() - seconds_from(literal(age))
    return select(jobs.c.id).where(jobs.c.state == state(name), old, theirs).order_by(finished_at)


def _beyond(name: str, theirs: ColumnElement[bool], count: int) -> Select[tuple[int]]:
    """The jobs before the last `count`. Those are counted without a lock: they stay."""
    latest = (
        select(jobs.c.id)
        .where(jobs.c.state == state(name), theirs, _in_nothing_unfinished(), in_no_batch(), ~holds_chain())
        .order_by(jobs.c[f"{name}_at"].desc(), jobs.c.id.desc())
    )
    beyond = ids(latest.offset(count).limit(parameter("limit", Integer)))
    return select(jobs.c.id).where(jobs.c.id == func.any(beyond), jobs.c.state == state(name))


def applies(policy: JobPolicy) -> ColumnElement[bool]:
    """Whether a policy is for a job, by its queue and worker."""
    among = [
        column == func.any(literal(list(names), ARRAY(Text)))
        for column, names in ((jobs.c.queue, policy.queues), (jobs.c.worker, policy.workers))
        if names
    ]
    return and_(true(), *among)


def _in_nothing_unfinished() -> ColumnElement[bool]:
    """Whether the job is in no flow and no batch of which another job has yet to finish, and no flow that has yet to
    finish has taken its place."""
    other = jobs.alias("other")

    def over(name: str) -> ColumnElement[bool]:
        # PostgreSQL asks for each job, or for all flows at once. Without the IS NOT NULL it would not see that the
        # index of their jobs answers the second question too, and read the whole table.
        unfinished = exists().where(other.c[name] == jobs.c[name], other.c[name].is_not(None), is_open(other.c.state))
        return or_(jobs.c[name].is_(None), not_(unfinished))

    # A workflow is pruned whole, and only what another program has put into one that is not there job by job.
    flow = exists().where(workflows.c.id == jobs.c.workflow_id)
    replaced = exists().where(workflows.c.graft_of == jobs.c.id, workflows.c.finished_at.is_(None))
    alone = or_(jobs.c.workflow_id.is_(None), not_(flow))
    return and_(over("workflow_id"), alone, over("batch_id"), not_(replaced))
