"""Batches as the target of a change."""

from __future__ import annotations

from sqlalchemy import delete, exists
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


def delete_batch(session: Session, batch: Batch) -> None:
    """Delete the row of a batch whose jobs are gone. While one of them runs, it stays, and is pruned with that."""
    left = exists().where(jobs.c.batch_id == batches.c.id)
    gone = jobs_connection(session).execute(
        delete(batches).where(batches.c.id == batch_id(batch), ~left).returning(batches.c.id)
    )
    if gone.first() is not None and batch in session:
        session.expunge(batch)
