"""Jobs that wait: for their time, or for what they depend on."""

from __future__ import annotations

from datetime import datetime

from ...telemetry.printable import shell_word
from ..words import span
from .chain import in_chain
from .facts import Facts, error_gist, whole
from .queue import EXECUTOR_ADVICE, may_run, obstacles
from .reason import Reason

MOST_NAMES = 10
"""Of the nodes that a job waits for."""

GRACE = 2.0
"""Seconds that a job may be due before a node should have staged it."""


def available(facts: Facts) -> list[Reason]:
    return obstacles(facts) or [may_run(facts)]


def scheduled(facts: Facts) -> list[Reason]:
    job = facts.job
    if not _is_due(facts):
        reasons = _until(facts, _what_for(facts)) if (rest := facts.rest) is None else [_asleep(facts, *rest)]
        return [*reasons, *_hindrances(facts)]
    return _overdue(facts, f"it was scheduled for {job.scheduled_at:%Y-%m-%d %H:%M:%S}Z" if job.scheduled_at else "")


def _asleep(facts: Facts, signal: str | None, end: datetime | None) -> Reason:
    until = "" if end is None else f" until {facts.until(end).removeprefix('at ')}"
    if signal is None:
        advice = "its code says for how long; if the job is started before that time, it goes to sleep again"
        return Reason("asleep", f"it sleeps{until}", advice)
    advice = f"send it: oban-sqla jobs signal {facts.job.id} {shell_word(signal)}"
    return Reason("waits_for_signal", f"it waits for the signal {signal!r}{until}", advice)


def retryable(facts: Facts) -> list[Reason]:
    job = facts.job
    error = error_gist(job.error)
    text = f"attempt {job.attempt} of {job.max_attempts} failed" + (f" with {error}" if error else "")
    if rescued := whole(job.rescued):
        text = f"{text}; it was rescued {_times(rescued)} from a node that died"
    if not _is_due(facts):
        return [*_until(facts, Reason("retryable", text, _now(facts))), *_hindrances(facts)]
    return _overdue(facts, text)


def suspended(facts: Facts) -> list[Reason]:
    if (edges := facts.edges) and edges.open:
        named = ", ".join(edges.names[:MOST_NAMES]) + (", …" if edges.open > MOST_NAMES else "")
        text = f"it waits for {edges.open} of {edges.all} that come before it in its workflow: {named}"
        flow = facts.job.workflow_id
        retry = f"to retry what failed of them: oban-sqla flows retry {flow}"
        return [Reason("suspended", text, retry if edges.failed else f"see them: oban-sqla flows show {flow}")]
    if facts.job.chain_key is not None:
        return [in_chain(facts)]
    if edges is not None and edges.all:
        return [Reason("suspended", "nothing that it waits for is open, a node releases it in a moment", "")]
    text = "it is suspended, and waits for no other job"
    return [Reason("suspended", text, f"to run it: UPDATE oban_jobs SET state = 'available' WHERE id = {facts.job.id}")]


def _is_due(facts: Facts) -> bool:
    job = facts.job
    return not job.never and (job.scheduled_at is None or facts.seconds(job.scheduled_at) >= 0)


def _what_for(facts: Facts) -> Reason:
    job = facts.job
    if (times := whole(job.unknown_worker)) and (executor := job.unknown_executor) is not None:
        text = (
            f"no node that took it has the executor {executor!r}, for which its worker asks: it was given back "
            f"{_times(times)}, without using up an attempt"
        )
        return Reason("unknown_executor", text, EXECUTOR_ADVICE)
    if times:
        text = (
            f"no node that took it knows the worker {job.worker!r}: it was given back {_times(times)}, without using "
            "up an attempt"
        )
        advice = "start a node whose code registers that worker, or check the spelling; see meta.unknown_worker"
        return Reason("unknown_worker", text, advice)
    if times := whole(job.missing_key):
        text = (
            f"no key of the nodes that took it opens its encrypted arguments: it was given back {_times(times)}, "
            "without using up an attempt"
        )
        return Reason("missing_key", text, "give the key that encrypted it to Encryption(keys=…) on every node")
    if job.debounce is not None:
        moved = whole(job.debounced)
        text = "it is debounced: each duplicate puts it off" + (f", it was moved {_times(moved)}" if moved else "")
        return Reason("debounced", text, _now(facts))
    if times := whole(job.snoozed):
        return Reason("snoozed", f"it snoozed, {_times(times)} so far", _now(facts))
    return Reason("scheduled", "it is scheduled", _now(facts))


def _now(facts: Facts) -> str:
    return f"to run it now: oban-sqla jobs retry {facts.job.id}"


def _until(facts: Facts, reason: Reason) -> list[Reason]:
    job = facts.job
    if job.never:
        when = "its time is infinite or too far away, so it never comes"
    else:
        when = f"it is due {facts.until(job.scheduled_at)}"
    return [Reason(reason.code, f"{reason.text}; {when}", reason.advice)]


def _hindrances(facts: Facts) -> list[Reason]:
    """What would prevent it from running if it were due."""
    return [reason for reason in obstacles(facts) if reason.code in ("no_node", "paused", "stopped", "exhausted")]


def _overdue(facts: Facts, text: str) -> list[Reason]:
    """It is due, and no node has made it available."""
    job = facts.job
    late = 0.0 if job.scheduled_at is None else facts.seconds(job.scheduled_at)
    if (locked := facts.holder) is not None:
        reason = Reason("locked", f"it is due, but its row is locked by {locked.text}", locked.advice)
        return [reason, *_hindrances(facts)]
    due = f"it has been due for {span(late)}"
    due = f"{text}; {due}" if text else due
    if late < GRACE:
        return [Reason("due", f"{due}, and becomes available any moment"), *_hindrances(facts)]
    leaders, members = facts.roster.leaders, facts.members
    if not leaders and not members:
        text = f"{due}, but no node makes it available: no node leads, and none runs the queue {job.queue!r}"
        return [Reason("no_leader", text, "start a node: oban-sqla start"), *_hindrances(facts)]
    who = f"the leader {leaders[0].node}" if leaders else f"the node {members[0].node}, in place of a leader,"
    text = f"{due}; {who} should have made it available"
    advice = "look at the log of that node, and at its poll_interval; many jobs that are due at once take a while"
    return [Reason("overdue", text, advice), *_hindrances(facts)]


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
