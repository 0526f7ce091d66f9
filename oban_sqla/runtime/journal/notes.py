"""Writing the progress of runs: that of all jobs of a node in one statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...statements.journal import note
from ...telemetry import execute
from ...telemetry import job_logger as logger
from ..lanes.failure import StatementFailed
from ..lanes.lane import Lane
from .journal import Journal, Note
from .writer import fences


async def write_notes(lane: Lane, journals: Sequence[Journal], failures: int) -> None:
    """Write the progress that waits in `journals`.

    :param lane: the connection to write on.
    :param failures: how often in a row that has failed.
    :raises StatementFailed: when the database did not answer; what was not written waits as before.
    """
    taken = {journal: said for journal in journals if (said := journal.take_note()) is not None}
    if taken:
        await _write(lane, taken, failures)


async def _write(lane: Lane, taken: Mapping[Journal, Note], failures: int) -> None:
    try:
        rows = await lane.run_unshielded(
            note,
            **fences([*taken]),
            done=[done for done, _, _ in taken.values()],
            total=[total for _, total, _ in taken.values()],
            note=[text for _, _, text in taken.values()],
        )
    except StatementFailed as error:
        if not error.blames_value(failures):
            raise
        await _write_halves(lane, taken, failures, error)
        return
    held = {job_id for (job_id,) in rows}
    for journal, (done, total, _) in taken.items():
        journal.wrote_note()
        row = journal.row
        if row.id not in held:
            journal.fence()
        else:
            given = {"job_id": row.id, "worker": row.worker, "queue": row.queue, "done": done, "total": total}
            execute("oban.progress", **given)


async def _write_halves(lane: Lane, taken: Mapping[Journal, Note], failures: int, error: StatementFailed) -> None:
    """Drop the progress that can't be stored, once it is alone; that of the other jobs is written."""
    pairs = [*taken.items()]
    if len(pairs) > 1:
        half = len(pairs) // 2
        await _write(lane, dict(pairs[:half]), failures)
        await _write(lane, dict(pairs[half:]), failures)
        return
    [(journal, _)] = pairs
    journal.wrote_note()
    logger.error("job %d: its progress can't be stored: %s", journal.row.id, error, extra=journal.row.log_extra)
