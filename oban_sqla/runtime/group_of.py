"""The batch or the workflow of a job, for a function that asks for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session, undefer

from ..errors import InvalidOption
from ..models import Batch, Workflow
from ..workers.worker import Worker
from .row import Row

MOST_LOADED = 1_000
"""Jobs of a group that are loaded together with it; of a larger one none are."""

T = TypeVar("T", Batch, Workflow)

Load = Callable[[Row], Awaitable[object]]


def loaders(engine: AsyncEngine) -> Mapping[Any, Load]:
    """What loads the group of a job, by its class, with its counts, and its jobs if they are few.

    It belongs to no session.
    """
    return {kind: _loader(engine, load) for kind, load in GROUPS.items()}


def load_batch(session: Session, row: Row) -> Batch:
    """The batch to which a job belongs, or of which it is a callback.

    :raises InvalidOption: for any other job.
    """
    which = select(Batch).options(undefer(Batch.counts)).where(Batch.id == _batch_id(row))
    batch = session.scalar(which)
    if batch is None:
        raise InvalidOption(
            f"{row.worker} asks for its Batch, and job {row.id} is neither in a batch nor the callback of one; enqueue "
            "it with Batch([…]) or Batch(…, on_exhausted=…)"
        )
    return _alone(session, batch)


def load_flow(session: Session, row: Row) -> Workflow:
    """The workflow of a job.

    :raises InvalidOption: for a job that is in none.
    """
    which = select(Workflow).options(undefer(Workflow.counts)).where(Workflow.id == row.workflow_id)
    flow = session.scalar(which)
    if flow is None:
        raise InvalidOption(
            f"{row.worker} asks for its Workflow, and job {row.id} is in no workflow; add it to one: flow.add(…)"
        )
    return _alone(session, flow)


GROUPS: Mapping[Any, Callable[[Session, Row], object]] = {Batch: load_batch, Workflow: load_flow}
"""How each kind of group is loaded."""


def asked_by(worker: Worker) -> list[Any]:
    """Those of :data:`GROUPS` for which its function asks."""
    try:
        injected = () if worker.arguments is None else worker.arguments.injected.values()
    except InvalidOption:
        return []  # the run of the job says why it can't begin
    return [kind for kind in GROUPS if kind in injected]


def groups_in(worker: Worker, row: Row) -> list[int | None]:
    """The ids of the groups of a job for which its function asks: jobs of others can't share a call with it."""
    return [_batch_id(row) if kind is Batch else row.workflow_id for kind in asked_by(worker)]


def _loader(engine: AsyncEngine, load: Callable[[Session, Row], object]) -> Load:
    async def loaded(row: Row) -> object:
        async with AsyncSession(engine, expire_on_commit=False) as session:
            return await session.run_sync(load, row)

    return loaded


def _alone(session: Session, group: T) -> T:
    if sum(group.counts.values()) <= MOST_LOADED:
        _ = group.jobs
    session.expunge_all()
    return group


def _batch_id(row: Row) -> int | None:
    if row.batch_id is not None:
        return row.batch_id
    named: Any = row.meta_object.get("batch_id") if '"batch_id"' in row.meta else None
    return named if isinstance(named, int) else None
