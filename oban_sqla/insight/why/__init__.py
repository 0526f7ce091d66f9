"""Why a job is not running, or what it is doing, with the next step to take.

It executes a few statements, each by an index and with bounded counts, in one transaction that is rolled back.

Belongs here: one job, and what decides about it. Does not: the health of the database and of the cluster as a whole,
which the doctor examines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from ...errors import InvalidOption
from ...models import Job, JobSpec
from ...models.checks import LARGEST_ID
from ...models.node import Node
from ...options.instance import told
from ...runtime.config import Config
from ...statements.why import bounds, newest, row_of
from .deadline import deadline
from .facts import Facts
from .finished import cancelled, completed, discarded
from .groups import groups
from .reason import Reason, Why
from .running import executing
from .waiting import available, retryable, scheduled, suspended

PATIENCE = 5_000
"""Milliseconds that each statement may take."""

_STATES: Mapping[str, Callable[[Facts], list[Reason]]] = {
    "available": available,
    "scheduled": scheduled,
    "suspended": suspended,
    "executing": executing,
    "retryable": retryable,
    "completed": completed,
    "discarded": discarded,
    "cancelled": cancelled,
}


async def why(engine: AsyncEngine, config: Config, target: Job | JobSpec | Node[Any] | int) -> Why:
    """Why the job `target` is not running, or what it is doing; see :meth:`Oban.why`.

    :param config: the options of the nodes; the heartbeat and the pruning decide what happens next.
    """
    async with engine.connect() as connection:
        try:
            return await connection.run_sync(explained, config, target)
        finally:
            await connection.rollback()


def explained(connection: Connection, config: Config, target: Job | JobSpec | Node[Any] | int) -> Why:
    """The same on a connection, whose transaction is to be rolled back."""
    job_id = target.id if isinstance(target, Job | JobSpec | Node) else target
    if not isinstance(job_id, int) or isinstance(job_id, bool):
        raise InvalidOption(f"why: expected the id of a job, or one that was enqueued, got {told(target)}")
    found = _explain(connection, config, job_id)
    return replace(found, reasons=(*found.reasons, _duplicate(job_id))) if _is_duplicate(target) else found


def _explain(connection: Connection, config: Config, job_id: int) -> Why:
    bounds.execute(connection, limit=str(PATIENCE))
    row = row_of.execute(connection, id=job_id).one_or_none() if 0 < job_id <= LARGEST_ID else None
    if row is None:
        highest = newest.execute(connection).scalar_one()
        return Why(job_id, None, None, None, (_missing(job_id, highest),))
    facts = Facts(connection, config, row)
    reasons = [*_STATES.get(row.state, _unknown)(facts), *_remarks(facts)]
    return Why(job_id, row.state, row.queue, row.worker, tuple(reasons))


def _missing(job_id: int, highest: int | None) -> Reason:
    if highest is None or job_id > highest:
        newest_is = "there are no jobs" if highest is None else f"the newest job is {highest}"
        text = (
            f"there is no such job ({newest_is}): its transaction has not been committed yet or was rolled back, or "
            "the id belongs to another database or schema"
        )
        return Reason("missing", text, "commit the session that enqueued it, and look at the database you connect to")
    text = (
        "there is no such job any more: it was pruned or deleted after it finished, or it never existed, because the "
        "transaction that enqueued it was rolled back or is still open"
    )
    return Reason("missing", text, "Oban(prune=Prune(max_age=...)) sets how long finished jobs are kept")


def _is_duplicate(target: Job | JobSpec | Node[Any] | int) -> bool:
    return isinstance(target, JobSpec) and target.conflict


def _duplicate(job_id: int) -> Reason:
    text = f"the spec is a duplicate of job {job_id}, which was there, so it made no job"
    return Reason("duplicate", text, "Unique(...) says which jobs are duplicates, and what one changes")


def _unknown(facts: Facts) -> list[Reason]:
    text = f"this version does not know the state {facts.job.state!r}, and leaves the job alone"
    return [Reason("unknown_state", text, "upgrade this package to the version that enqueued it, or retry the job")]


def _remarks(facts: Facts) -> list[Reason]:
    priority, found = facts.job.priority, [*deadline(facts), *groups(facts)]
    if facts.job.state in ("completed", "discarded", "cancelled") or 0 <= priority <= 9:
        return found
    place = "before" if priority < 0 else "behind"
    text = f"its priority {priority} is not between 0 and 9: it runs {place} all jobs of its queue"
    return [Reason("odd_priority", text, "change it with oban.update(job, priority=...)"), *found]


__all__ = ["Reason", "Why", "explained", "why"]
