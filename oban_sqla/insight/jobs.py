"""Jobs as people look for them: lists of jobs, counts by state, and everything about one job.

A summary is a plain dict with the columns of a job, without its arguments, meta and list of errors, but with ``error``:
its last error in one line.
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
    """Chooses jobs that meet all conditions. Without conditions it chooses all jobs.

    :param states: the job is in one of these states. Default: in any state.
    :param queue: the name of its queue. Default: any queue.
    :param worker: the name of its worker. Default: any worker.
    :param tag: one of its tags. Default: any tags.
    :param args: a part of its arguments, as PostgreSQL's ``@>`` compares them. Default: any arguments.
    :raises InvalidOption: for an unknown state.
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
        """The conditions as a dict that ``json.dumps`` accepts."""
        parts = {"states": list(self.states), "queue": self.queue, "worker": self.worker, "tag": self.tag}
        return {name: value for name, value in (parts | {"args": dict(self.args or {})}).items() if value}

    @property
    def conditions(self) -> list[ColumnElement[bool]]:
        """The conditions for ``select(Job).where(*conditions)``."""
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

    :param limit: most jobs.
    :param before: only jobs with a lower id, for the next page. Default: all.
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

    :returns: the columns :data:`DETAILS`; ``cancel_at``, when it was asked to stop; ``queue_time``, the seconds for
        which it was due before its last attempt; ``duration``, the seconds of that attempt, to its end or until now;
        ``progress``, a dict, or None when it has told none; ``steps``, its steps, and ``signals``, its signals;
        ``workflow`` and ``batch``, dicts, and ``chain``, text; each is None when the job has none. None in place of
        all that when the job does not exist.
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
    """The batch to which a job belongs, or whose callback it is: its id, name, end, and number of jobs by state."""
    meta: Any = job.meta if isinstance(cast(object, job.meta), dict) else {}  # another program may write anything
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
    """When a job entered its state; for a job that waits, when it is due."""
    at: datetime | None = summary[_MOMENTS.get(summary["state"], "scheduled_at")]
    return at


def _summary(row: Row[Any]) -> dict[str, Any]:
    columns = {name: getattr(row, name) for name in statements.COLUMNS}
    return columns | {"state": str(columns["state"]), "error": gist(row.error)}
