"""What stands between an available job and its run."""

from __future__ import annotations

from datetime import datetime

from ..roster import Member, nodes
from ..words import listed, meant, span
from .facts import MOST, Facts, counted, whole
from .reason import Reason

SOON = 10.0
"""Seconds within which a job that nothing hinders should have been fetched; nodes poll every five."""


def obstacles(known: Facts) -> list[Reason]:
    """Everything that keeps the job from being fetched, the decisive thing first."""
    looks = (_exhausted, _locked, _unserved, _paused, _silent)
    found = [reason for look in looks if (reason := look(known)) is not None]
    return [*found, *_busy(known), *_unknown(known)]


def may_run(known: Facts) -> Reason:
    """For a job that nothing hinders."""
    where = listed(nodes(_working(known)))
    waited = 0.0 if known.job.scheduled_at is None else known.seconds(known.job.scheduled_at)
    if waited < SOON:
        return Reason("due", f"it is available, and should start any moment on {where}")
    text = f"it has been available for {span(waited)}, and nothing that can be seen keeps it from running on {where}"
    return Reason("due", text, "look at the log of that node; oban-sqla doctor looks at what slows the database")


def _exhausted(known: Facts) -> Reason | None:
    job = known.job
    if job.attempt < job.max_attempts:
        return None
    text = f"it has no attempt left ({job.attempt} of {job.max_attempts}), so no node fetches it"
    if leaders := known.roster.leaders:
        text = f"{text}; the leader {leaders[0].node} discards it within half a minute"
    else:
        text = f"{text}; it is discarded when a node leads again"
    return Reason("exhausted", text, f"to give it another one: oban.update({job.id}, max_attempts={job.attempt + 1})")


def _locked(known: Facts) -> Reason | None:
    if (held := known.holder) is None:
        return None
    return Reason("locked", f"its row is locked by {held.text}; every fetch passes it over", held.advice)


def _unserved(known: Facts) -> Reason | None:
    """No node works the queue."""
    if known.members:
        return None
    queue = known.job.queue
    if any(row.started is False and not row.node for row in known.settings):
        text = f"the queue {queue!r} was stopped on all nodes {known.ago(_asked_at(known, 'started', False))}"
        return Reason("stopped", text, f"oban-sqla queues start {queue}")
    alive = known.roster.alive
    running = {member.queue for member in alive}
    silent = [member for member in known.roster.members if member.queue == queue]
    text = f"no living node runs the queue {queue!r}"
    if silent:
        text = f"{text}; its last one, {silent[0].node}, is dead"
    elif alive:
        text = f"{text}; the queues that are run: {listed(running, 10)}{meant(queue, running)}"
    else:
        text = f"{text}, nor any other"
    return Reason(
        "no_node", text, f"oban-sqla start ... --queues {queue}=10, or oban-sqla queues start {queue} --limit 10"
    )


def _paused(known: Facts) -> Reason | None:
    """Every node that works the queue has paused it."""
    if not known.members or _working(known):
        return None
    queue, members = known.job.queue, known.members
    everywhere = [row for row in known.settings if row.paused and not row.node]
    own = {row.node for row in known.settings if row.paused and row.node}
    if everywhere:
        text = f"the queue {queue!r} was paused on all nodes {known.ago(_asked_at(known, 'paused', True))}"
        return Reason("paused", text, f"oban-sqla queues resume {queue}")
    where = "the one node that runs it" if len(members) == 1 else f"all {len(members)} nodes that run it"
    text = f"the queue {queue!r} is paused on {where}: {listed(nodes(members))}"
    if own & nodes(members):
        text = f"{text}; that was asked for {known.ago(_asked_at(known, 'paused', True))}"
    elif all(member.is_ours for member in members):
        text = f"{text}; they are configured so, with Queue(paused=True)"
    return Reason("paused", text, f"oban-sqla queues resume {queue}")


def _silent(known: Facts) -> Reason | None:
    """The nodes that would run it are connected, and do nothing."""
    working = _working(known)
    if not working or not all(member.is_late for member in working):
        return None
    text = (
        f"the nodes that run the queue {known.job.queue!r} ({listed(nodes(working))}) give no sign of life, but their "
        "connections stand: a job blocks the event loop, or the process is stopped"
    )
    return Reason("silent_node", text, "look at these processes, or start another node")


def _unknown(known: Facts) -> list[Reason]:
    """A node that does not know the worker has given it back; the nodes leave that name out of their fetches."""
    job = known.job
    times = whole(job.unknown_worker)
    if not times or not known.members:
        return []
    count = "once" if times == 1 else f"{times} times"
    text = f"nodes of its queue that did not know the worker {job.worker!r} have given it back {count}"
    return [Reason("unknown_worker", text, "start a node whose code registers that worker, or check the spelling")]


def _busy(known: Facts) -> list[Reason]:
    """Every slot is taken, and who comes first."""
    working = _working(known)
    if not working:
        return []
    reasons: list[Reason] = []
    limits = [member.limit for member in working if member.limit is not None]
    if len(limits) == len(working) and known.executing >= (slots := sum(limits)):
        each = f"{limits[0]} on one node" if len(limits) == 1 else f"{slots} on {len(limits)} nodes"
        oldest = "" if known.longest_run is None else f", the oldest for {span(max(known.longest_run, 0))}"
        jobs = "jobs are" if known.executing > 1 else "job is"
        text = f"every slot of its queue is taken ({each}): {counted(known.executing)} {jobs} executing{oldest}"
        advice = f"wait, raise the limit (oban-sqla queues scale {known.job.queue} N), or start another node"
        reasons.append(Reason("busy", text, advice))
    if known.ahead:
        jobs = "jobs of its queue come" if known.ahead > 1 else "job of its queue comes"
        text = f"{counted(known.ahead)} available {jobs} before it"
        advice = "more slots shorten the wait; priority 0 goes first" if known.ahead > MOST or reasons else ""
        reasons.append(Reason("behind", text, advice))
    return reasons


def _working(known: Facts) -> list[Member]:
    """Those who live, work the queue, and have not paused it."""
    return [member for member in known.members if not member.paused]


def _asked_at(known: Facts, setting: str, value: bool) -> datetime:
    times: list[datetime] = [row.updated_at for row in known.settings if getattr(row, setting) is value]
    return max(times)
