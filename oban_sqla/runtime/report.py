"""What telemetry and the log are told of the run of a job. Its arguments are in neither."""

from __future__ import annotations

import logging
import time
from typing import Any

from sqlalchemy.exc import DBAPIError

from .. import telemetry
from ..errors import Fenced, closest
from ..options.payload import storable
from ..telemetry import job_logger as logger
from ..telemetry import queue_logger as logger_of_queues
from ..telemetry.database_error import described, of_database
from ..workers.outcomes import Outcome
from ..workers.registry import workers
from .acks import Ack
from .config import RESERVED
from .once_a_minute import OnceAMinute
from .row import Row
from .traceback_text import Withheld, bare_text, frames_text, kind_of, traceback_text

FENCED = "fenced"
"""The state that telemetry and hooks get for a run whose job had been given to another one. Not a state of a job."""

LONGEST_TRACEBACK = 20_000
"""Characters of a traceback in the log; of a longer one the beginning and the end are logged."""

_unknown = OnceAMinute()
"""Workers that were told of."""

_unopened = OnceAMinute()
"""The same for keys that are missing."""

_ENDS = {
    "completed": "completed in",
    "available": "was given back after",
    "scheduled": "is scheduled again, after",
    "cancelled": "was cancelled after",
    "discarded": "was discarded after",
}


def report_start(row: Row) -> None:
    """A run of the job begins."""
    if logger.isEnabledFor(logging.DEBUG):
        logger.debug("job %d (%s) starts attempt %d", row.id, row.worker, row.attempt, extra=row.log_extra)
    if telemetry.listened("oban.job.start"):
        telemetry.execute("oban.job.start", **_fields(row))


def report_end(
    row: Row, ack: Ack | None, error: BaseException | None, started: float, log_exceptions: bool, unknown: bool
) -> None:
    """A run of the job has ended.

    :param ack: what became of the job; None when it had been given to another run.
    :param error: what the verdict was found on; None for a run that ended well.
    :param started: when the run began, in monotonic seconds.
    :param log_exceptions: whether the log has the exception, with its traceback, or only its type.
    :param unknown: whether it was not run at all, because this process does not know its worker, or lacks the key.
    """
    state = FENCED if ack is None else ack.state
    duration = time.monotonic() - started
    failed = error is not None and state in ("retryable", "discarded") and not isinstance(error, Outcome)
    if failed and ack is not None and error is not None:
        _log_failure(row, ack, error, log_exceptions)
    elif state in _ENDS and not unknown:
        level = logging.ERROR if state == "discarded" else logging.INFO
        if logger.isEnabledFor(level):
            text = "job %d (%s) %s %.0f ms"
            logger.log(level, text, row.id, row.worker, _ENDS[state], duration * 1000, extra=row.log_extra)
    event = "oban.job.exception" if failed else "oban.job.stop"
    if telemetry.listened(event):
        fields = _fields(row) | {
            "state": state,
            "duration": duration,
            "queue_time": (row.attempted_at - row.scheduled_at).total_seconds(),
        }
        if failed and error is not None:
            fields["error"] = Withheld(error) if row.worker in workers.encrypted else error
        telemetry.execute(event, **fields)


def report_fenced(row: Row, error: Fenced) -> None:
    """A run ended after its job had been given to another one."""
    logger.warning("%s", error, extra=row.log_extra)
    telemetry.execute("oban.fenced", job_id=row.id, attempt=row.attempt, queue=row.queue)


def report_unknown(row: Row, executor: str | None) -> None:
    """A job can't be run by this process.

    :param executor: the one that its worker asks for and this node does not have; None if the worker is not known.
    """
    if not _unknown.is_due((row.worker, executor)):
        return
    if executor is not None:
        near = closest(executor, RESERVED)
        logger_of_queues.warning(
            "jobs of the worker %r can't run here: it asks for the executor %r, which this node does not have%s; "
            "they are left to other nodes",
            row.worker, executor, f" (did you mean {near!r}?)" if near else "", extra=row.log_extra,
        )  # fmt: skip
        return
    near = closest(row.worker, workers)
    logger_of_queues.warning(
        "jobs of the worker %r can't run here, because no module of this process registers it%s; import its module, or "
        "name it in aliases= of the worker that has replaced it; they are left to other nodes",
        row.worker, f" (did you mean {near!r}?)" if near else "", extra=row.log_extra,
    )  # fmt: skip


def report_unopened(row: Row) -> None:
    """No key of this process opens the arguments of a job."""
    if _unopened.is_due(row.worker):
        logger_of_queues.warning(
            "jobs of the worker %r are given back, because no key of this node opens their arguments; give the key "
            "to Encryption(keys=…) of every node before the first job is encrypted with it", row.worker,
            extra=row.log_extra,
        )  # fmt: skip


def _log_failure(row: Row, ack: Ack, error: BaseException, log_exceptions: bool) -> None:
    level = logging.ERROR if ack.state == "discarded" else logging.WARNING
    if not logger.isEnabledFor(level):
        return
    again = "" if ack.delay is None else f", again in {ack.delay:.0f} s"
    values = (row.id, row.worker, row.attempt, row.max_attempts, ack.state, again, kind_of(error))
    text = "job %d (%s) failed in attempt %d of %d and is %s%s: %s"
    is_withheld = row.worker in workers.encrypted
    of_server = log_exceptions and of_database(error) and not is_withheld
    shows = log_exceptions and not of_server and not is_withheld
    exc_info = (type(error), error, error.__traceback__) if shows else None
    record = logger.makeRecord(logger.name, level, __file__, 0, text, values, exc_info, extra=row.log_extra)
    # Formatted here: from the job's own code on, and bounded, because handlers would write every character.
    if of_server:  # its text has what was sent to the database, the arguments of jobs among it
        said = described(error) if isinstance(error, DBAPIError) else type(error).__name__
        record.exc_text = storable(frames_text(error, said), LONGEST_TRACEBACK)
    elif is_withheld and log_exceptions:
        record.exc_text = storable(bare_text(error), LONGEST_TRACEBACK)
    elif log_exceptions:
        record.exc_text = storable(traceback_text(error), LONGEST_TRACEBACK)
    logger.handle(record)


def _fields(row: Row) -> dict[str, Any]:
    return {
        "job_id": row.id,
        "worker": row.worker,
        "queue": row.queue,
        "attempt": row.attempt,
        "max_attempts": row.max_attempts,
        "node": row.attempted_by[0],
    }
