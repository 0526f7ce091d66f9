"""What a job belongs to: its batch, and the jobs that run in one call with it."""

from __future__ import annotations

from ...statements.why import batch_of
from ...workers.registry import workers
from .facts import MOST, Facts, counted, whole
from .reason import Reason


def groups(facts: Facts) -> list[Reason]:
    """Remarks about the batch of the job, or of which it is a callback, and about its chunk."""
    job = facts.job
    found: list[Reason] = []
    if job.chunk_key is not None and job.state == "available":
        worker = workers.get(job.worker)
        size = "" if worker is None or worker.chunk is None else f" up to {worker.chunk.size - 1:,}"
        text = f"it runs in one call with{size} others of its worker and key: they take one place of a node"
        found.append(Reason("chunk", text))
    if job.batch_id is not None:
        found += _batch(facts, int(job.batch_id), "it belongs to")
    elif callback_of := whole(job.callback_of):
        found += _batch(facts, callback_of, f"it is the callback on_{job.callback} of")
    return found


def _batch(facts: Facts, batch_id: int, what: str) -> list[Reason]:
    row = batch_of.execute(facts.connection, id=batch_id, most=MOST + 1).one_or_none()
    if row is None:
        return [Reason("batch", f"{what} the batch {batch_id}, which was deleted")]
    name = f" {row.name!r}" if row.name else ""
    left = "which has finished" if row.finished else f"of which {counted(row.open)} have not finished"
    if not row.finished and not row.open:
        left = "all of whose jobs have finished; a node sees to its callbacks in a moment"
    return [Reason("batch", f"{what} the batch {row.id}{name}, {left}")]
