"""Jobs that are executing: where, whether that node lives, and what it should have done already."""

from __future__ import annotations

from ...options.heartbeat import FOREIGN_STALE_AFTER, PATIENCE
from ...workers.registry import workers
from ..roster import Member
from ..words import span
from .facts import Facts
from .reason import Reason


def executing(known: Facts) -> list[Reason]:
    """What keeps it executing; when it simply runs, that alone."""
    job = known.job
    member = known.roster.find(job.producer)
    where = f" on {job.node}" if job.node else ""
    ran = "" if job.attempted_at is None else f" for {span(max(known.seconds(job.attempted_at), 0))}"
    runs = f"it has been running{where}{ran}, attempt {job.attempt} of {job.max_attempts}"
    reasons = _of_its_node(known, member)
    if job.cancel_at is not None:
        reasons.append(_to_stop(known, is_alive=not reasons))
    elif (late := _past_timeout(known)) is not None:
        reasons.append(late)
    return [*reasons, Reason("executing", runs)]


def _of_its_node(known: Facts, member: Member | None) -> list[Reason]:
    job = known.job
    if member is None:
        if not job.producer:
            text = "its row names no producer, as one of the open source Oban for Elixir"
        else:
            text = (
                f"its producer {job.producer} is unknown: the node has stopped or died, or the server's crash has "
                "emptied the table of producers and the node has not shown itself since"
            )
        patience = max(PATIENCE * known.config.heartbeat.stale_after, FOREIGN_STALE_AFTER)
        return [_rescued(known, "unknown_producer", text, f"{span(patience)} after a leader first saw that")]
    if member.is_alive and not member.is_late:
        return []
    silent = "an unknown time" if member.silent is None else span(member.silent)
    if member.is_alive:
        text = (
            f"its node {member.node} has given no sign of life for {silent}, but its connection stands: a job blocks "
            "its event loop, or the process is stopped"
        )
        after = span(known.config.heartbeat.dead_after)
        return [Reason("silent_node", text, f"look at that process; it is left alone for {after}, or until it ends")]
    return [
        _rescued(
            known,
            "dead_node",
            f"its node {member.node} has been silent for {silent}: it is dead",
            "within half a minute",
        )
    ]


def _rescued(known: Facts, code: str, text: str, when: str) -> Reason:
    leaders = known.roster.leaders
    if not leaders:
        advice = "start a node: nobody leads, and only a leader rescues jobs"
        return Reason(code, f"{text}; nobody leads now, so nobody rescues it", advice)
    outcome = "cancels it" if known.job.cancel_at is not None else "gives it to another node"
    if known.job.cancel_at is None and known.job.attempt >= known.job.max_attempts:
        outcome = "discards it, because this was its last attempt"
    return Reason(code, f"{text}; the leader {leaders[0].node} {outcome} {when}")


def _to_stop(known: Facts, *, is_alive: bool) -> Reason:
    asked = f"it was asked to stop {known.ago(known.job.cancel_at)}"
    if not is_alive:
        return Reason("cancelling", f"{asked}, and is cancelled when it is rescued")
    advice = "a plain function has to ask oban_sqla.cancelled() from time to time; a coroutine must not swallow it"
    return Reason("cancelling", f"{asked}, and has not ended yet", advice)


def _past_timeout(known: Facts) -> Reason | None:
    """Told only where the worker is registered: the row does not say."""
    job = known.job
    worker = workers.get(job.worker)
    limit = None if worker is None else worker.timeout
    if limit is None or job.attempted_at is None or (ran := known.seconds(job.attempted_at)) <= limit + 1:
        return None
    text = f"it has been running for {span(ran)}, and its timeout is {limit:g} s"
    advice = (
        "a thread can't be stopped: let it ask oban_sqla.cancelled(); a coroutine must not swallow its cancellation"
    )
    return Reason("past_timeout", text, advice)
