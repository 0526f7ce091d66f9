"""The batch of a job, for a function that asks for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session, undefer

from ..errors import InvalidOption
from ..models import Batch
from .row import Row

MOST_LOADED = 1_000
"""Jobs of a batch that are loaded together with it; of a larger one none are."""


def loader(engine: AsyncEngine) -> Callable[[Row], Awaitable[Batch]]:
    """What loads the batch of a job, with its counts, and its jobs if they are few. It belongs to no session."""

    async def load(row: Row) -> Batch:
        async with AsyncSession(engine, expire_on_commit=False) as session:
            return await session.run_sync(load_batch, row)

    return load


def load_batch(session: Session, row: Row) -> Batch:
    """The same in a session that is at hand.

    :raises InvalidOption: for a job that is in no batch and is not the callback of one.
    """
    found = id_of(row)
    which = select(Batch).options(undefer(Batch.counts)).where(Batch.id == found)
    batch = None if found is None else session.scalar(which)
    if batch is None:
        raise InvalidOption(
            f"{row.worker} asks for its Batch, and job {row.id} is neither in a batch nor the callback of one; enqueue "
            "it with Batch([…]) or Batch(…, on_exhausted=…)"
        )
    if sum(batch.counts.values()) <= MOST_LOADED:
        _ = batch.jobs
    session.expunge_all()
    return batch


def id_of(row: Row) -> int | None:
    """The id of the batch to which a job belongs, or of which it is a callback."""
    if row.batch_id is not None:
        return row.batch_id
    named: Any = row.meta_object.get("batch_id") if '"batch_id"' in row.meta else None
    return named if isinstance(named, int) else None
