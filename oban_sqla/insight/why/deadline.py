"""The time by which a waiting job has to start, or is cancelled."""

from __future__ import annotations

from datetime import datetime, timedelta

from ...workers.registry import workers
from .facts import Facts
from .reason import Reason


def deadline(facts: Facts) -> list[Reason]:
    """When it is cancelled unless it has started; nothing for a job without a deadline, or one that has begun."""
    end = _end(facts)
    if end is None:
        return []
    advice = f"to give it as long again: oban.update({facts.job.id}, schedule_in=0)"
    if facts.seconds(end) <= 0:
        text = f"it is cancelled if it has not started by its deadline, {facts.until(end)}"
        return [Reason("deadline", text, advice)]
    text = f"its deadline was {facts.ago(end)}: the node that fetches it cancels it"
    return [Reason("past_deadline", text, advice)]


def _end(facts: Facts) -> datetime | None:
    job = facts.job
    due: datetime | None = job.scheduled_at
    if job.state not in ("available", "scheduled") or job.attempt > 0 or job.has_begun or due is None:
        return None
    worker = workers.get(job.worker)
    seconds = float(job.deadline) if job.deadline else worker.deadline if worker is not None else None
    if seconds is None:
        return None
    try:
        return due + timedelta(seconds=seconds)
    except OverflowError:  # beyond the times of Python
        return None
