"""The list of queues, and one queue with the forms that change it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from ...insight import glance
from ...insight.glance import Count, QueueGlance
from ...insight.roster import Roster
from ...insight.series import Series
from ...statements.audit import last_pauses
from ..ask import Ask, Content, NotFound, Periods
from ..plots import ended, plots

KEYS = 20
"""Partitions of a queue that are shown."""
PARTS = 12
"""Points of the small line of a queue."""
PAGE = 100
"""Queues on a page, by name."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Who paused a queue, and why."""

    who: str
    reason: str | None
    at: Any


@dataclass(frozen=True, slots=True)
class All:
    """All queues.

    :ivar queues: by name.
    :ivar roster: the nodes.
    :ivar pauses: who paused a queue last, by its name.
    """

    queues: tuple[QueueGlance, ...]
    roster: Roster
    pauses: dict[str, Pause]

    @property
    def waiting(self) -> Count:
        """How many jobs wait."""
        return sum((queue.waiting for queue in self.queues), Count(0))

    @property
    def oldest(self) -> QueueGlance | None:
        """The queue in which a job has waited longest."""
        waiting = [queue for queue in self.queues if queue.oldest is not None]
        return max(waiting, key=lambda queue: queue.oldest or 0.0, default=None)

    @property
    def busy(self) -> int:
        """How many jobs run."""
        return sum(queue.busy for queue in self.queues)

    @property
    def slots(self) -> int:
        """How many jobs run at once."""
        return sum(queue.slots for queue in self.queues)

    @property
    def nodes(self) -> list[str]:
        """The names of the nodes that work any of them."""
        return sorted({member.node for queue in self.queues for member in queue.members})


async def all_queues(ask: Ask) -> All:
    """All queues. The pages share them."""
    place = ask.place

    def read(connection: Connection) -> All:
        found, roster = glance.queues(connection, place.name, place.heartbeat)
        pauses: dict[str, Pause] = {}
        if any(queue.state in ("paused", "partly paused") or queue.asked_to_pause for queue in found):
            for row in last_pauses.execute(connection):
                pauses.setdefault(str(row.target.get("queue")), Pause(row.who, row.reason, row.at))
        return All(tuple(found), roster, pauses)

    return await ask.read("queues", read)


def sparks(found: Series | None, queue: str) -> Sequence[float]:
    """How many jobs of a queue ended in each part of the period."""
    numbers = [] if found is None else found.queues.get(queue, [])
    size = max(len(numbers) // PARTS, 1)
    # Whole parts only, up to the newest: half a part would look like a fall.
    return [float(sum(numbers[at : at + size])) for at in range(len(numbers) % size, len(numbers), size)]


async def queues(ask: Ask, _rest: str) -> Content:
    """The list of queues."""
    found = await all_queues(ask)
    done = await ended(ask)
    after = ask.one("after")
    listed = [queue for queue in found.queues if after is None or queue.queue > after]
    context = {
        "all": found,
        "listed": listed[:PAGE],
        "more": listed[PAGE - 1].queue if len(listed) > PAGE else None,
        "nodes": _nodes(found.roster, ask.place.name),
        "sparks": {queue.queue: sparks(done, queue.queue) for queue in listed[:PAGE]},
        "ran": {} if done is None else {name: runs.quantile(0.95) for name, runs in done.ran.items()},
    }
    return Content("queues.html", "Queues", context, "queues")


async def queue(ask: Ask, _rest: str) -> Content:
    """One queue: its limits, its keys, its nodes, and the forms that change it."""
    name, place = ask.one("name"), ask.place
    if name is None:
        raise NotFound("Which queue?")

    def read(connection: Connection) -> tuple[QueueGlance | None, Roster]:
        every, roster = glance.queues(connection, place.name, place.heartbeat, keys=KEYS, of=name)
        found = next((one for one in every if one.queue == name), None)
        return found or glance.idle(connection, name), roster

    found, roster = await ask.read(("queue", name), read)
    if found is None:
        raise NotFound(
            f"There is no queue {name!r}: no node works it, no operator has changed it, no job waits or runs in it, "
            f"and the newest {glance.FAR:,} jobs have none of it."
        )
    nodes = _nodes(roster, place.name)
    drawn = await plots(ask, name)
    context = {"queue": found, "nodes": nodes, "plots": drawn, "limits": _limits(found)}
    periods = Periods(drawn.period, "queue", {"name": name}) if drawn.all else None
    return Content("queue.html", name, context, "queues", trail=(("queues", "Queues"),), periods=periods)


def _nodes(roster: Roster, instance: str) -> list[str]:
    return sorted({member.node for member in roster.alive if member.instance == instance})


def _limits(found: QueueGlance) -> dict[str, str]:
    """The limits of the cluster, as text for the fields of the form."""
    limits = None if found.usage is None else found.usage.limits
    partition = None if limits is None else limits.partition
    return {
        "global_limit": "" if limits is None or limits.global_limit is None else str(limits.global_limit),
        "rate_limit": "" if limits is None or limits.rate_limit is None else str(limits.rate_limit),
        "partition": "" if partition is None else ", ".join(partition.fields),
        "partition_limit": "" if partition is None or partition.limit is None else str(partition.limit),
        "partition_rate": "" if partition is None or partition.rate_limit is None else str(partition.rate_limit),
        "burst": "yes" if partition is not None and partition.burst else "",
    }
