"""Jobs that wait: for their time, or for what they depend on."""

from __future__ import annotations

from ..words import span
from .facts import Facts, last_line, whole
from .queue import may_run, obstacles
from .reason import Reason

GRACE = 2.0
"""Seconds that a job may be due before somebody should have staged it."""


def available(known: Facts) -> list[Reason]:
    return obstacles(known) or [may_run(known)]


def scheduled(known: Facts) -> list[Reason]:
    job = known.job
    if not _is_due(known):
        return [*_until(known, _what_for(known)), *_hindrances(known)]
    return _overdue(known, f"it was scheduled for {job.scheduled_at:%Y-%m-%d %H:%M:%S}Z" if job.scheduled_at else "")


def retryable(known: Facts) -> list[Reason]:
    job = known.job
    error = last_line(job.error)
    text = f"attempt {job.attempt} of {job.max_attempts} failed" + (f" with {error}" if error else "")
    if rescued := whole(job.rescued):
        text = f"{text}; it was rescued {_times(rescued)} from a node that died"
    if not _is_due(known):
        return [*_until(known, Reason("retryable", text, _now(known))), *_hindrances(known)]
    return _overdue(known, text)


def suspended(known: Facts) -> list[Reason]:
    remaining = known.job.remaining
    if remaining is not None and remaining > 0:
        text = f"it waits for {remaining} of the jobs that it depends on"
        return [Reason("suspended", text, "look at the other jobs of its workflow; those that failed can be retried")]
    text = "it is suspended, and depends on no job whose end would change that"
    return [Reason("suspended", text, f"to run it: UPDATE oban_jobs SET state = 'available' WHERE id = {known.job.id}")]


def _is_due(known: Facts) -> bool:
    job = known.job
    return not job.never and (job.scheduled_at is None or known.seconds(job.scheduled_at) >= 0)


def _what_for(known: Facts) -> Reason:
    job = known.job
    if times := whole(job.unknown_worker):
        text = (
            f"no node that took it knows the worker {job.worker!r}: it was given back {_times(times)}, without "
            "burning an attempt"
        )
        advice = "start a node whose code registers that worker, or check the spelling; see meta.unknown_worker"
        return Reason("unknown_worker", text, advice)
    if times := whole(job.snoozed):
        return Reason("snoozed", f"it snoozed, {_times(times)} so far", _now(known))
    return Reason("scheduled", "it is scheduled", _now(known))


def _now(known: Facts) -> str:
    return f"to run it now: oban-sqla jobs retry {known.job.id}"


def _until(known: Facts, reason: Reason) -> list[Reason]:
    job = known.job
    if job.never:
        when = "its time is infinity or out of all reason, so it never comes"
    else:
        when = f"it is due {known.until(job.scheduled_at)}"
    return [Reason(reason.code, f"{reason.text}; {when}", reason.advice)]


def _hindrances(known: Facts) -> list[Reason]:
    """What would keep it from running if it were due."""
    return [reason for reason in obstacles(known) if reason.code in ("no_node", "paused", "stopped", "exhausted")]


def _overdue(known: Facts, text: str) -> list[Reason]:
    """It is due, and nobody has made it available."""
    job = known.job
    late = 0.0 if job.scheduled_at is None else known.seconds(job.scheduled_at)
    if (locked := known.holder) is not None:
        reason = Reason("locked", f"it is due, but its row is locked by {locked.text}", locked.advice)
        return [reason, *_hindrances(known)]
    said = f"{text}; " if text else ""
    said = f"{said}it has been due for {span(late)}"
    if late < GRACE:
        return [Reason("due", f"{said}, and becomes available any moment"), *_hindrances(known)]
    leaders, members = known.roster.leaders, known.members
    if not leaders and not members:
        text = f"{said}, but nobody makes it available: nobody leads, and no node runs the queue {job.queue!r}"
        return [Reason("no_leader", text, "start a node: oban-sqla start"), *_hindrances(known)]
    who = f"the leader {leaders[0].node}" if leaders else f"the node {members[0].node}, in place of a leader,"
    text = f"{said}; {who} should have made it available"
    advice = "look at the log of that node, and at its poll_interval; many jobs due at once take their turn"
    return [Reason("overdue", text, advice), *_hindrances(known)]


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
