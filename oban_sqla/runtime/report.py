"""What telemetry and the log are told of the run of a job. Its arguments are in neither."""

from __future__ import annotations

import time
from typing import Any

from .. import telemetry
from ..errors import Fenced
from ..workers.outcomes import Outcome
from .row import Row

FENCED = "fenced"
"""The state that telemetry and hooks get for a run whose job had been given to another one. Not a state of a job."""


def report_start(row: Row) -> None:
    """A run of the job begins."""
    if telemetry.listened("oban.job.start"):
        telemetry.execute("oban.job.start", **_fields(row))


def report_end(row: Row, state: str, error: BaseException | None, started: float) -> None:
    """A run of the job has ended.

    :param state: what became of the job, or :data:`FENCED`.
    :param error: what the verdict was found on; None for a run that ended well.
    :param started: when the run began, in monotonic seconds.
    """
    failed = error is not None and state in ("retryable", "discarded") and not isinstance(error, Outcome)
    if failed:
        telemetry.logger.warning(
            "job %d (%s) failed in attempt %d of %d and is %s",
            row.id, row.worker, row.attempt, row.max_attempts, state,
        )  # fmt: skip
    event = "oban.job.exception" if failed else "oban.job.stop"
    if telemetry.listened(event):
        fields = _fields(row) | {
            "state": state,
            "duration": time.monotonic() - started,
            "queue_time": (row.attempted_at - row.scheduled_at).total_seconds(),
        }
        telemetry.execute(event, **fields, **({"error": error} if failed else {}))


def report_fenced(row: Row, error: Fenced) -> None:
    """A run ended after its job had been given to another one."""
    telemetry.logger.warning("%s", error)
    telemetry.execute("oban.fenced", job_id=row.id, attempt=row.attempt, queue=row.queue)


def _fields(row: Row) -> dict[str, Any]:
    return {
        "job_id": row.id,
        "worker": row.worker,
        "queue": row.queue,
        "attempt": row.attempt,
        "max_attempts": row.max_attempts,
        "node": row.attempted_by[0],
    }
