"""Jobs that are executing: where, whether that node is alive, and what it should have done already."""

from __future__ import annotations

from ...options.heartbeat import FOREIGN_STALE_AFTER, PATIENCE
from ...telemetry.printable import shell_word
from ...workers.registry import workers
from ..queues import Member
from ..words import span
from .facts import Facts
from .reason import Reason

_COROUTINE = "a coroutine must not suppress CancelledError"


def executing(facts: Facts) -> list[Reason]:
    """What keeps it executing; when it simply runs, that alone."""
    job = facts.job
    member = facts.roster.find(job.producer)
    where = f" on {job.node}" if job.node else ""
    ran = "" if job.attempted_at is None else f" for {span(facts.seconds(job.attempted_at))}"
    runs = f"it has been running{where}{ran}, attempt {job.attempt} of {job.max_attempts}"
    reasons = _of_its_node(facts, member)
    if job.cancel_at is not None:
        reasons.append(_to_stop(facts, is_alive=not reasons or reasons[0].code in ("waits_for_child", "without_slot")))
    elif (late := _past_timeout(facts)) is not None:
        reasons.append(late)
    elif not reasons and (waits := _waits_in_its_slot(facts)) is not None:
        reasons.append(waits)
    return [*reasons, Reason("executing", runs)]


def _of_its_node(facts: Facts, member: Member | None) -> list[Reason]:
    job = facts.job
    if member is None:
        if not job.producer:
            text = "its row names no producer, as jobs of the open source Oban for Elixir do"
        else:
            text = (
                f"its producer {job.producer} is unknown: the node has stopped or died, or a crash of the server has "
                "emptied the table of producers and the node has sent no heartbeat since"
            )
        patience = max(PATIENCE * facts.config.heartbeat.stale_after, FOREIGN_STALE_AFTER)
        return [_rescued(facts, "unknown_producer", text, f"{span(patience)} after a leader first saw that")]
    if member.is_alive and not member.is_late:
        if job.id in member.without_slot:
            return [_without_slot(member)]
        return [_waits_for_child(member)] if job.id in member.waiting else []
    silent = "an unknown time" if member.silent is None else span(member.silent)
    if member.is_alive:
        text = (
            f"its node {member.node} has sent no heartbeat for {silent}, but is still connected: a job blocks its "
            "event loop, or the process is stopped"
        )
        after = span(facts.config.heartbeat.dead_after)
        return [
            Reason(
                "silent_node",
                text,
                f"look at that process; the job is rescued when its connection ends, or after {after}",
            )
        ]
    return [
        _rescued(
            facts,
            "dead_node",
            f"its node {member.node} has sent no heartbeat for {silent}, and is dead",
            "within half a minute",
        )
    ]


def _without_slot(member: Member) -> Reason:
    return Reason(
        "without_slot",
        f"it does not count in the limit of its queue on the node {member.node}: it waits for the result of another "
        "job, or has called release_slot()",
    )


def _waits_in_its_slot(facts: Facts) -> Reason | None:
    """A short wait, or the first seconds of a long one. A sleep that keeps the slot is over before it is read."""
    signal, end = facts.rest or (None, None)
    if signal is None:
        return None
    until = "" if end is None else f" until {facts.until(end).removeprefix('at ')}"
    text = f"it waits for the signal {signal!r}{until}; it keeps its slot for the first seconds (live=…), then sleeps"
    advice = f"send it: oban-sqla jobs signal {facts.job.id} {shell_word(signal)}"
    return Reason("waits_for_signal", text, advice)


def _waits_for_child(member: Member) -> Reason:
    return Reason(
        "waits_for_child",
        f"its node {member.node} has fetched it, and all child processes of that node are busy",
        "raise Processes(size=…), lower the limit of the queue, or start another node",
    )


def _rescued(facts: Facts, code: str, text: str, when: str) -> Reason:
    leaders = facts.roster.leaders
    if not leaders:
        advice = "start a node: only a leader rescues jobs"
        return Reason(code, f"{text}; no node leads, so no node rescues the job", advice)
    outcome = "cancels it" if facts.job.cancel_at is not None else "gives it to another node"
    if facts.job.cancel_at is None and facts.job.attempt >= facts.job.max_attempts:
        outcome = "discards it, because this was its last attempt"
    return Reason(code, f"{text}; the leader {leaders[0].node} {outcome} {when}")


def _to_stop(facts: Facts, *, is_alive: bool) -> Reason:
    text = f"it was asked to stop {facts.ago(facts.job.cancel_at)}"
    if not is_alive:
        return Reason("cancelling", f"{text}, and is cancelled when it is rescued")
    advice = f"a plain function has to check oban_sqla.cancelled() regularly; {_COROUTINE}"
    return Reason("cancelling", f"{text}, and has not ended yet", advice)


def _past_timeout(facts: Facts) -> Reason | None:
    """Only where the worker is registered: the row does not say."""
    job = facts.job
    worker = workers.get(job.worker)
    limit = None if worker is None else worker.timeout
    if limit is None or job.attempted_at is None or (ran := facts.seconds(job.attempted_at)) <= limit + 1:
        return None
    text = f"it has been running for {span(ran)}, and its timeout is {limit:g} s"
    advice = f"a thread can't be stopped: let it check oban_sqla.cancelled(); {_COROUTINE}"
    return Reason("past_timeout", text, advice)
