"""Limits of the cluster that keep an available job from running: of its queue, and of its partition."""

from __future__ import annotations

from datetime import timedelta

from ...options.limits import RateLimit
from ...statements.usage import used
from ...telemetry.printable import shell_word
from ..limits import FAR, allowed, named, suspension
from ..words import span
from .facts import Facts, counted, whole
from .reason import Reason

RESET = "wait, or end it: await oban.limiter(…).reset()"
FASTER = "wait, or raise the rate"


def held_back(facts: Facts) -> list[Reason]:
    """What the limits of its queue and of its partition say; nothing where they have room for it."""
    by, key = facts.partition
    queue, limits = facts.job.queue, facts.limits
    reasons: list[Reason] = []
    if text := _suspended(facts, "", f"its queue {queue!r}"):
        reasons.append(Reason("queue_suspended", text, RESET))
    if limits.is_limited:
        row = used.execute(facts.connection, queue=queue, key=key, most=FAR).one()
        running, of_key = int(row.all), int(row.own)
        if limits.global_limit is not None and running >= limits.global_limit:
            text = f"its queue has {counted(running)} of {limits.global_limit:,} jobs running in the cluster"
            advice = f"wait, or raise it: oban-sqla queues scale {shell_word(queue)} --global-limit N"
            reasons.append(Reason("global_limit", text, advice))
        if text := _rated(facts, "", limits.rate_limit, "its queue's rate"):
            reasons.append(Reason("rate_limit", text, FASTER))
        if key is not None and limits.partition is not None:
            name = named(by, key)
            if text := _suspended(facts, key, name):
                reasons.append(Reason("partition_suspended", text, RESET))
            if text := _rated(facts, key, limits.partition.rate_limit, f"the rate of {name}"):
                reasons.append(Reason("partition_rate_limit", text, FASTER))
            most = limits.partition.limit
            if most is not None and of_key >= most and not limits.partition.burst:
                reasons.append(Reason("partition_limit", f"{name} has {counted(of_key)} of {most:,} running", "wait"))
    if by and key is None:
        text = f"it has no key of its queue's partition by {', '.join(by)} yet; a fetch or the leader gives it one"
        reasons.append(Reason("no_key", text, "wait a minute; the leader looks through the waiting jobs"))
    return reasons


def _suspended(facts: Facts, key: str, name: str) -> str | None:
    is_suspended, wait = suspension(facts.connection, facts.job.queue, key)
    if not is_suspended:
        return None
    return f"{name} is suspended until {_at(facts, wait)}, for {span(wait)}"


def _rated(facts: Facts, key: str, rate: RateLimit | None, name: str) -> str | None:
    if rate is None:
        return None
    room, wait = allowed(facts.connection, facts.job.queue, key, rate)
    cost = min(max(whole(facts.job.weight), 1), rate.allowed)
    if room >= cost or (not room and suspension(facts.connection, facts.job.queue, key)[0]):
        return None
    if room:
        return f"{name} ({rate}) allows {room} more, and this job counts as {cost}; what is behind it waits, too"
    return f"{name} ({rate}) allows the next start at {_at(facts, wait)}"


def _at(facts: Facts, seconds: float) -> str:
    moment = facts.now + timedelta(seconds=seconds)
    return f"{moment:%H:%M:%S}Z" if seconds < 86_400 else f"{moment:%Y-%m-%d %H:%M:%S}Z"
