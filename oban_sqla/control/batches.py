"""Batches as the target of a change."""

from __future__ import annotations

from sqlalchemy import delete, exists, select
from sqlalchemy.orm import Session

from ..enqueueing.writer import jobs_connection
from ..errors import InvalidOption
from ..models import Batch
from ..models.batch import batches
from ..models.job import jobs


def batch_id(batch: Batch) -> int:
    """The id of a batch that was written.

    :raises InvalidOption: for one that was not.
    """
    if batch.id is None:
        raise InvalidOption(f"{batch!r} has not been enqueued: flush or commit its session first")
    return batch.id


def lock_batch(session: Session, batch: Batch) -> None:
    """Wait for those that are adding jobs to a batch, and let those that come later find it gone. Before its jobs are
    deleted: else one that is added meanwhile is left without its batch."""
    session.flush()
    jobs_connection(session).execute(select(batches.c.id).where(batches.c.id == batch_id(batch)).with_for_update())


def delete_batch(session: Session, batch: Batch) -> None:
    """Delete the row of a batch whose jobs are gone. While one of them runs, it stays, and is pruned with that."""
    left = exists().where(jobs.c.batch_id == batches.c.id)
    gone = jobs_connection(session).execute(
        delete(batches).where(batches.c.id == batch_id(batch), ~left).returning(batches.c.id)
    )
    if gone.first() is not None and batch in session:
        session.expunge(batch)
