"""What is said where a test asks for jobs that are not there, and may have meant others."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from .. import telemetry
from ..errors import closest
from ..models import Job
from ..types import JobState
from ..workers.registry import workers
from .filters import Wanted

WAITING = (JobState.AVAILABLE, JobState.SCHEDULED, JobState.RETRYABLE, JobState.SUSPENDED)
MOST = 5


def tell_idle(session: Session, queues: Sequence[str] | None) -> None:
    """Log which jobs wait, after a drain that has run none: they are in another queue, or not due yet."""
    waits = select(Job.queue, Job.state, func.count(), func.min(Job.id)).where(Job.state.in_(WAITING))
    rows = session.execute(waits.group_by(Job.queue, Job.state).order_by(Job.queue).limit(MOST)).all()
    if not rows:
        return
    found = ", ".join(f"{count} {state} in queue {queue!r} (job {first})" for queue, state, count, first in rows)
    hints: list[str] = []
    if queues is not None and any(queue not in queues for queue, *_ in rows):
        hints.append(f"queue={queues[0] if len(queues) == 1 else queues!r} leaves other queues out")
    if any(state in (JobState.SCHEDULED, JobState.RETRYABLE) for _, state, *_ in rows):
        hints.append("with_scheduled=True, or until=…, runs what is not due yet")
    telemetry.job_logger.warning("drain ran no jobs; there are: %s%s", found, "".join(f"; {hint}" for hint in hints))


def doubt(wanted: Wanted) -> None:
    """Warn of names that are probably misspelt: no job has such a name, so that none is found proves nothing."""
    name = wanted.values.get("worker")
    worker = None if name is None else workers.get(name)
    if name is not None and worker is None:
        _warn_of("worker", name, workers)
    if (queue := wanted.values.get("queue")) is not None:
        _warn_of("queue", queue, [one.queue for one in workers.distinct()])
    if worker is not None and worker.arguments is not None and worker.upcast is None:
        for key in wanted.values.get("args", {}):
            if said := worker.arguments.no_parameter(key):
                _warn(f"worker {worker.name!r}: {said}")


def _warn_of(what: str, name: str, known: Iterable[str]) -> None:
    known = set(known)
    if name not in known and (near := closest(name, known)):
        _warn(f"there is no {what} {name!r} in this process; did you mean {near!r}?")


def _warn(said: str) -> None:
    warnings.warn(f"refute_enqueued holds, but proves nothing: {said}", stacklevel=2)


__all__ = ["doubt", "tell_idle"]
