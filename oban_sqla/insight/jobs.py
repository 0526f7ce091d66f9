"""Jobs as people look for them: which there are, how they are, and everything about one.

Summaries are plain dicts with a job's columns except its arguments, meta and list of errors, and with ``error``: what
its last error says, in one line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import ColumnElement, Row, Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import undefer

from ..errors import InvalidOption
from ..models import Batch, Job
from ..models.job import jobs, names
from ..statements import jobs as statements
from ..statements.statement import Statement, in_states
from ..statements.steps import history_of, signals_of
from ..telemetry.gist import gist
from ..types import JobState
from .words import chain_words

STATES = tuple(state.value for state in JobState)
"""The states that a job can have."""

DETAILS = names((
    "id", "state", "queue", "worker", "priority", "attempt", "max_attempts", "tags", "attempted_by", "args", "meta",
    "errors", "inserted_at", "scheduled_at", "attempted_at", "completed_at", "cancelled_at", "discarded_at",
))  # fmt: skip
"""The columns of :func:`details`."""

_MOMENTS: Mapping[str, str] = {
    "suspended": "inserted_at",
    "executing": "attempted_at",
    "completed": "completed_at",
    "cancelled": "cancelled_at",
    "discarded": "discarded_at",
}


@dataclass(frozen=True, slots=True)
class Filter:
    """Chooses jobs by what they have in common. Without any of these it chooses all jobs.

    :param states: in one of which a job is. Default: in any.
    :param queue: the name of its queue. Default: any.
    :param worker: the name of its worker. Default: any.
    :param tag: one of its tags. Default: any.
    :param args: a part of its arguments, as PostgreSQL's ``@>`` compares them. Default: any.
    :raises InvalidOption: for a state that jobs don't have.
    """

    states: tuple[str, ...] = ()
    queue: str | None = None
    worker: str | None = None
    tag: str | None = None
    args: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        for state in self.states:
            if state not in STATES:
                raise InvalidOption(f"Filter: expected a state, one of {', '.join(STATES)}; got {state!r}")

    def __bool__(self) -> bool:
        return bool(self.states or self.queue or self.worker or self.tag or self.args)

    def as_dict(self) -> dict[str, Any]:
        """What it chooses by, as ``json.dumps`` accepts it."""
        parts = {"states": list(self.states), "queue": self.queue, "worker": self.worker, "tag": self.tag}
        return {name: value for name, value in (parts | {"args": dict(self.args or {})}).items() if value}

    @property
    def conditions(self) -> list[ColumnElement[bool]]:
        """For ``select(Job).where(*conditions)``."""
        conditions = [in_states(jobs.c.state, *self.states)] if self.states else []
        if self.queue is not None:
            conditions.append(Job.queue == self.queue)
        if self.worker is not None:
            conditions.append(Job.worker == self.worker)
        if self.tag is not None:
            conditions.append(jobs.c.tags.contains([self.tag]))
        if self.args:
            conditions.append(jobs.c.args.contains(dict(self.args)))
        return conditions


def newest(chosen: Filter, limit: int, before: int | None = None) -> Select[Any]:
    """The query of :func:`page`."""
    query = statements.summaries().where(*chosen.conditions).order_by(jobs.c.id.desc()).limit(limit)
    return query if before is None else query.where(jobs.c.id < before)


async def page(session: AsyncSession, chosen: Filter, limit: int, before: int | None = None) -> list[dict[str, Any]]:
    """Summaries of the newest of the `chosen` jobs, the newest first.

    :param limit: how many at most.
    :param before: only jobs with a lower id than this, for the next page. Default: from the newest on.
    """
    return [_summary(row) for row in await session.execute(newest(chosen, limit, before))]


async def by_id(session: AsyncSession, ids: Iterable[int]) -> dict[int, dict[str, Any]]:
    """Summaries of the jobs `ids`, by their ids; jobs that don't exist are missing."""
    connection, sought = await session.connection(), list(ids)
    rows = await connection.run_sync(lambda sync: statements.summaries_by_id.execute(sync, ids=sought).all())
    return {row.id: _summary(row) for row in rows}


async def count_by_state(session: AsyncSession, *conditions: ColumnElement[bool]) -> dict[str, int]:
    """How many jobs meet all `conditions`, by state; states without any are missing."""
    counts = select(jobs.c.state, func.count()).where(*conditions).group_by(jobs.c.state).order_by(jobs.c.state)
    return {str(state): int(count) for state, count in await session.execute(counts)}


async def details(session: AsyncSession, id: int) -> dict[str, Any] | None:
    """Everything about the job `id`.

    :returns: the columns :data:`DETAILS`; ``cancel_at``, when it was asked to stop; and in seconds ``queue_time``, for
        which it was due before its last attempt, and ``duration`` of that attempt, to its end or until now;
        ``progress``, a dict, or None where it told none; ``steps``, what it has done, and ``signals``, what was sent to
        it; ``workflow`` and ``batch``, dicts, and ``chain``, text, or None where it is in none. None when there is no
        such job.
    """
    row = (await session.execute(select(Job, jobs.c.cancel_at).where(Job.id == id))).one_or_none()
    if row is None:
        return None
    job: Job = row[0]
    ran = job.duration if job.is_finished or job.state == "executing" else None
    return {
        **{name: getattr(job, name) for name in DETAILS},
        "cancel_at": row[1],
        "queue_time": None if job.queue_time is None else job.queue_time.total_seconds(),
        "duration": None if ran is None else ran.total_seconds(),
        "progress": None if job.progress is None else asdict(job.progress),
        "workflow": None if job.workflow_id is None else {"id": job.workflow_id, "node": job.node_name},
        "batch": await _batch(session, job),
        "chain": None if job.chain_key is None else chain_words(job.chain_key),
        "steps": await _rows(session, history_of, id),
        "signals": await _rows(session, signals_of, id),
    }


async def _batch(session: AsyncSession, job: Job) -> dict[str, Any] | None:
    """The batch of a job, or of which it is a callback: its id, name, end, and the number of its jobs by state."""
    meta: Any = job.meta if isinstance(cast(object, job.meta), dict) else {}  # another program's may be anything
    callback = meta.get("callback")
    batch_id = job.batch_id if job.batch_id is not None else meta.get("batch_id") if callback else None
    if not isinstance(batch_id, int):
        return None
    batch = await session.get(Batch, batch_id, options=[undefer(Batch.counts)])
    found: dict[str, Any] = {"name": None, "finished_at": None, "jobs": {}}
    if batch is not None:
        found = {"name": batch.name, "finished_at": batch.finished_at, "jobs": batch.counts}
    return {"id": batch_id, **found, "callback": None if job.batch_id is not None else callback}


async def _rows(session: AsyncSession, statement: Statement, id: int) -> list[dict[str, Any]]:
    connection = await session.connection()
    return [dict(row) for row in await connection.run_sync(lambda c: statement.execute(c, job_id=id).mappings().all())]


def moment(summary: Mapping[str, Any]) -> datetime | None:
    """Since when the job is in its state; for one that waits, when it is due."""
    at: datetime | None = summary[_MOMENTS.get(summary["state"], "scheduled_at")]
    return at


def _summary(row: Row[Any]) -> dict[str, Any]:
    columns = {name: getattr(row, name) for name in statements.COLUMNS}
    return columns | {"state": str(columns["state"]), "error": gist(row.error)}
