"""Jobs that have waited long become more urgent, by one at a time.

Each statement changes one priority, so that a round which goes from the most urgent to the least urgent one changes no
job twice. It walks the index of available jobs, in each queue from the job that has waited longest, and stops at what
has not. Locked rows are passed over, and a node that leads no more changes nothing.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Executable,
    Float,
    Integer,
    Select,
    Text,
    and_,
    cast,
    func,
    literal,
    not_,
    select,
    true,
    tuple_,
    update,
)

from ..models.base import utc_now
from ..models.job import jobs
from ..options.prioritize import PrioritizePolicy
from .bulk import Bulk
from .lead import holds_lease
from .prune import applies
from .statement import ids, not_refused, parameter, seconds_from, state, statement


def statements(policies: Sequence[PrioritizePolicy]) -> list[Bulk]:
    """What raises the priority of the jobs of each policy; the first that applies to a job decides.

    Each takes the `priority` of the jobs to change, and changes up to `limit`.
    """
    made: list[Bulk] = []
    earlier: list[ColumnElement[bool]] = []
    for policy in policies:
        theirs = and_(applies(policy), *(not_(other) for other in earlier))
        earlier.append(applies(policy))
        if policy.wait is not None:
            made.append(_raising(theirs, policy.wait))
    return made


@statement
def waiting_priorities() -> Executable:
    """The priorities of jobs that have been available for longer than `wait` seconds, except the most urgent one."""
    found = _queues_and_priorities()
    long = found.c.oldest <= utc_now() - seconds_from(parameter("wait", Float))
    return select(found.c.priority).where(found.c.priority > 0, long).distinct().order_by(found.c.priority)


def _raising(theirs: ColumnElement[bool], wait: float) -> Bulk:
    chosen = _waiting_longer(theirs, wait)

    @statement
    def prioritize() -> Executable:
        """Take one from the priority of up to `limit` jobs. Rows of a queue, and how many of its jobs they were."""
        raised = (
            update(jobs)
            # As text: the index of available jobs would else offer itself for these rows, too.
            .where(jobs.c.id == func.any(ids(chosen)), cast(jobs.c.state, Text) == state("available"))
            .values(priority=jobs.c.priority - 1)
            .returning(jobs.c.queue)
            .cte("raised")
        )
        return select(raised.c.queue, func.count()).group_by(raised.c.queue)

    @statement
    def find() -> Executable:
        """The ids of the jobs that :func:`prioritize` would change."""
        return chosen

    return Bulk(prioritize, find, count=_raised)


def _raised(rows: Sequence[Any]) -> int:
    return sum(count for _, count in rows)


def _waiting_longer(theirs: ColumnElement[bool], wait: float) -> Select[tuple[int]]:
    """The ids of up to `limit` jobs of `priority` that have been available for longer than `wait` seconds."""
    found = _queues_and_priorities()
    long = (
        select(jobs.c.id)
        .where(
            _is_available(),
            jobs.c.queue == found.c.queue,
            jobs.c.priority == found.c.priority,
            jobs.c.scheduled_at <= utc_now() - seconds_from(literal(wait)),
            theirs,
            not_refused(jobs.c.id),
        )
        .order_by(jobs.c.scheduled_at, jobs.c.id)
        .limit(parameter("limit", Integer))
        .with_for_update(skip_locked=True)
        .lateral("long")
    )
    return (
        select(long.c.id)
        .select_from(found.join(long, true()))
        .where(found.c.priority == parameter("priority", Integer), holds_lease())
        .limit(parameter("limit", Integer))
    )


def _queues_and_priorities() -> CTE:
    """Those of the available jobs, and since when the first of each pair is due, by one look into their index for each
    pair."""
    pair = (jobs.c.queue, jobs.c.priority)
    oldest = select(*pair, jobs.c.scheduled_at.label("oldest")).where(_is_available()).limit(1)
    oldest = oldest.order_by(*pair, jobs.c.scheduled_at)
    first = oldest.subquery("first")
    found = select(first).cte("found", recursive=True)
    following = oldest.where(tuple_(*pair) > tuple_(found.c.queue, found.c.priority)).lateral("following")
    return found.union_all(select(following).select_from(found.join(following, true())))


def _is_available() -> ColumnElement[bool]:
    return jobs.c.state == state("available")
