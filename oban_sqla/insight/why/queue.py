"""What keeps an available job from running."""

from __future__ import annotations

from datetime import datetime

from ...telemetry.printable import shell_word
from ..limits import named
from ..queues import Member
from ..roster import nodes
from ..words import listed, meant, span
from .facts import MOST, Facts, counted, whole
from .limits import held_back
from .reason import Reason

EXECUTOR_ADVICE = "start a node that has it, Oban(executors={…}), or check the spelling in @job(executor=…)"
SOON = 10.0
"""Seconds within which a job that nothing prevents should have been fetched; nodes poll every five."""


def obstacles(facts: Facts) -> list[Reason]:
    """Everything that keeps the job from being fetched, the decisive thing first."""
    checks = (_exhausted, _locked, _unserved, _paused, _silent)
    reasons = [reason for check in checks if (reason := check(facts)) is not None]
    return [*reasons, *held_back(facts), *_busy(facts), *_unknown(facts)]


def may_run(facts: Facts) -> Reason:
    """For a job that nothing prevents from running."""
    where = listed(nodes(_working(facts)))
    waited = 0.0 if facts.job.scheduled_at is None else facts.seconds(facts.job.scheduled_at)
    if waited < SOON:
        return Reason("due", f"it is available, and should start any moment on {where}")
    text = f"it has been available for {span(waited)}, and nothing visible prevents it from running on {where}"
    return Reason("due", text, "look at the log of that node; oban-sqla doctor finds what slows the database")


def _exhausted(facts: Facts) -> Reason | None:
    job = facts.job
    if job.attempt < job.max_attempts:
        return None
    text = f"it has no attempts left ({job.attempt} of {job.max_attempts}), so no node fetches it"
    if leaders := facts.roster.leaders:
        text = f"{text}; the leader {leaders[0].node} discards it within half a minute"
    else:
        text = f"{text}; it is discarded when a node leads again"
    return Reason("exhausted", text, f"to give it one more: oban.update({job.id}, max_attempts={job.attempt + 1})")


def _locked(facts: Facts) -> Reason | None:
    if (holder := facts.holder) is None:
        return None
    return Reason("locked", f"its row is locked by {holder.text}; fetches skip it", holder.advice)


def _unserved(facts: Facts) -> Reason | None:
    """No node works the queue."""
    if facts.members:
        return None
    queue = facts.job.queue
    if any(row.started is False and not row.node for row in facts.settings):
        text = f"the queue {queue!r} was stopped on all nodes {facts.ago(_asked_at(facts, 'started', False))}"
        return Reason("stopped", text, f"oban-sqla queues start {shell_word(queue)}")
    alive = facts.roster.alive
    running = {member.queue for member in alive}
    silent = [member for member in facts.roster.members if member.queue == queue]
    text = f"no living node runs the queue {queue!r}"
    if silent:
        text = f"{text}; its last node, {silent[0].node}, is dead"
    elif alive:
        text = f"{text}; running queues: {listed(running, 10)}{meant(queue, running)}"
    else:
        text = f"{text}, or any other queue"
    word = shell_word(queue)
    return Reason(
        "no_node", text, f"oban-sqla start ... --queues {word}=10, or oban-sqla queues start {word} --limit 10"
    )


def _paused(facts: Facts) -> Reason | None:
    """Every node that works the queue has paused it."""
    if not facts.members or _working(facts):
        return None
    queue, members = facts.job.queue, facts.members
    everywhere = [row for row in facts.settings if row.paused and not row.node]
    own = {row.node for row in facts.settings if row.paused and row.node}
    if everywhere:
        text = f"the queue {queue!r} was paused on all nodes {facts.ago(_asked_at(facts, 'paused', True))}"
        return Reason("paused", text, f"oban-sqla queues resume {shell_word(queue)}")
    where = "the one node that runs it" if len(members) == 1 else f"all {len(members)} nodes that run it"
    text = f"the queue {queue!r} is paused on {where}: {listed(nodes(members))}"
    if own & nodes(members):
        text = f"{text}; it was paused {facts.ago(_asked_at(facts, 'paused', True))}"
    elif all(member.is_ours for member in members):
        text = f"{text}; its nodes are configured with Queue(paused=True)"
    return Reason("paused", text, f"oban-sqla queues resume {shell_word(queue)}")


def _silent(facts: Facts) -> Reason | None:
    """The nodes that would run it are connected, and send no heartbeat."""
    working = _working(facts)
    if not working or not all(member.is_late for member in working):
        return None
    text = (
        f"the nodes that run the queue {facts.job.queue!r} ({listed(nodes(working))}) send no heartbeat, but are still "
        "connected: a job blocks the event loop, or the process is stopped"
    )
    return Reason("silent_node", text, "look at these processes, or start another node")


def _unknown(facts: Facts) -> list[Reason]:
    """A node that does not know the worker has given it back; the nodes leave that name out of their fetches."""
    job = facts.job
    if facts.members and (times := whole(job.missing_key)):
        count = "once" if times == 1 else f"{times} times"
        text = f"nodes without the key to its encrypted arguments have given it back {count}"
        return [Reason("missing_key", text, "give the key that encrypted it to Encryption(keys=…) on every node")]
    times = whole(job.unknown_worker)
    if not times or not facts.members:
        return []
    count = "once" if times == 1 else f"{times} times"
    if (executor := job.unknown_executor) is not None:
        text = f"nodes without the executor {executor!r}, for which its worker asks, have given it back {count}"
        return [Reason("unknown_executor", text, EXECUTOR_ADVICE)]
    text = f"nodes that don't know the worker {job.worker!r} have given it back {count}"
    return [Reason("unknown_worker", text, "start a node whose code registers that worker, or check the spelling")]


def _busy(facts: Facts) -> list[Reason]:
    """Every slot is taken, or other jobs come first."""
    working = _working(facts)
    if not working:
        return []
    reasons: list[Reason] = []
    limits = [member.limit for member in working if member.limit]
    counting = facts.executing - sum(len(member.without_slot) for member in working)
    if len(limits) == len(working) and counting >= (slots := sum(limits)):
        each = f"{limits[0]} on one node" if len(limits) == 1 else f"{slots} on {len(limits)} nodes"
        oldest = "" if facts.longest_run is None else f", the oldest for {span(facts.longest_run)}"
        jobs = "jobs are" if facts.executing > 1 else "job is"
        text = f"every slot of its queue is taken ({each}): {counted(facts.executing)} {jobs} executing{oldest}"
        advice = (
            f"wait, raise the limit (oban-sqla queues scale {shell_word(facts.job.queue)} N), or start another node"
        )
        reasons.append(Reason("busy", text, advice))
    by, key = facts.partition
    ahead = facts.ahead if key is None else facts.ahead_in_key
    if ahead:
        of = "its queue" if key is None else named(by, key)
        jobs = f"jobs of {of} come" if ahead > 1 else f"job of {of} comes"
        text = f"{counted(ahead)} available {jobs} before it" + ("" if key is None else "; keys take turns")
        text += _more_urgent(facts)
        advice = "more slots shorten the wait; jobs with priority 0 run first" if ahead > MOST or reasons else ""
        reasons.append(Reason("behind", text, advice))
    return reasons


def _more_urgent(facts: Facts) -> str:
    """When a prioritizer with this node's options raises its priority."""
    prioritize, job = facts.config.prioritize, facts.job
    if prioritize is None or job.priority <= prioritize.highest or job.scheduled_at is None:
        return ""
    if (wait := prioritize.wait(job.queue, job.worker)) is None:
        return ""
    left = wait - facts.seconds(job.scheduled_at)
    when = f"in {span(left)}" if left > 0 else f"each {span(prioritize.seconds_between)}"
    return f"; a leader with these options makes it more urgent {when}"


def _working(facts: Facts) -> list[Member]:
    """The living members that have not paused the queue."""
    return [member for member in facts.members if not member.paused]


def _asked_at(facts: Facts, setting: str, value: bool) -> datetime:
    times: list[datetime] = [row.updated_at for row in facts.settings if getattr(row, setting) is value]
    return max(times)
