"""The cluster for a page that is read every two seconds: jobs are counted up to a limit, and estimated beyond it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection

from ..models.queue import EVERY_NODE
from ..options.heartbeat import Heartbeat
from ..statements import glance as statements
from ..statements.overview import asked_of_all
from .limits import Usage
from .limits import read as read_usage
from .overview import State
from .queues import Member
from .roster import Roster
from .roster import read as read_roster
from .sizes import jobs_name

FAR = 10_000
"""The number up to which jobs are counted."""
RECENT = 300.0
"""The last seconds over which rates are computed."""
SOON = 3_600.0
"""The next seconds whose jobs :func:`due` counts."""
INDEXES: Mapping[str, tuple[str, ...]] = {
    "oban_jobs_fetch_index": ("available",),
    "oban_jobs_executing_index": ("executing",),
    "oban_jobs_suspended_index": ("suspended",),
    "oban_jobs_completed_at_index": ("completed",),
    "oban_jobs_cancelled_at_index": ("cancelled",),
    "oban_jobs_discarded_at_index": ("discarded",),
    "oban_jobs_staging_index": ("scheduled", "retryable"),
}
"""Which index has a row for each job in these states."""


@dataclass(frozen=True, slots=True)
class Count:
    """A number of jobs.

    :ivar number: the exact number, an estimate, or the least number, by `kind`.
    :ivar kind: ``"exact"``, ``"about"`` or ``"more"``.
    """

    number: int
    kind: Literal["exact", "about", "more"] = "exact"

    def __add__(self, other: Count) -> Count:
        kinds = {self.kind, other.kind}
        number = self.number + other.number
        return Count(number, "about" if "about" in kinds else "more" if "more" in kinds else "exact")


@dataclass(frozen=True, slots=True)
class QueueGlance:
    """A queue of the cluster.

    :ivar queue: its name.
    :ivar waiting: how many of its jobs are available.
    :ivar oldest: for how many seconds the first of them has been due; None when there is none.
    :ivar running: how many of its jobs run, by node.
    :ivar rate: jobs that ended, per second.
    :ivar discarded: the share of the ended jobs that were discarded, from 0 to 1; None when none ended.
    :ivar members: the queue on each of the living nodes that work it.
    :ivar asked_to_pause: whether it was paused on all nodes.
    :ivar asked_to_stop: whether it was stopped on all nodes.
    :ivar usage: its limits across the cluster, and how far they are used; None when it has none and is not suspended.
    """

    queue: str
    waiting: Count
    oldest: float | None
    running: Mapping[str, int]
    rate: float
    discarded: float | None
    members: tuple[Member, ...]
    asked_to_pause: bool
    asked_to_stop: bool
    usage: Usage | None

    @property
    def busy(self) -> int:
        """How many of its jobs run."""
        return sum(self.running.values())

    @property
    def slots(self) -> int:
        """How many jobs can run at once on all nodes together."""
        slots = sum(member.limit for member in self.members)
        cluster = None if self.usage is None else self.usage.limits.global_limit
        return slots if cluster is None else min(slots, cluster)

    @property
    def state(self) -> State:
        """Whether jobs of the queue are run now, and if not, why."""
        if not self.members:
            return "stopped" if self.asked_to_stop else "not run"
        paused = sum(member.paused for member in self.members)
        return "running" if not paused else "paused" if paused == len(self.members) else "partly paused"


def counts(connection: Connection) -> dict[str, Count]:
    """How many jobs are in each state: exact up to :data:`FAR`, then estimated from the size of the state's index."""
    rows = {row.state: int(row.jobs) for row in statements.states.execute(connection, most=FAR + 1)}
    staged = rows.get("scheduled", 0) + rows.get("retryable", 0)
    far = {name for name, number in rows.items() if number > FAR}
    if staged > FAR:
        far |= {"scheduled", "retryable"} & rows.keys()
    sizes = _sizes(connection) if far else {}
    return {
        name: _estimated(name, number, staged, sizes) if name in far else Count(number) for name, number in rows.items()
    }


def _estimated(name: str, number: int, staged: int, sizes: Mapping[str, float]) -> Count:
    index = next(index for index, states in INDEXES.items() if name in states)
    size = sizes.get(index, -1.0)
    if len(INDEXES[index]) > 1:
        size *= number / staged
    return Count(round(size), "about") if size >= number else Count(min(number, FAR), "more")


def _sizes(connection: Connection) -> dict[str, float]:
    rows = connection.execute(statements.SIZES, {"jobs": jobs_name(connection), "names": list(INDEXES)})
    return {row.name: row.rows for row in rows}


def waiting(connection: Connection) -> dict[str, Count]:
    """How many jobs of each queue are available; queues without available jobs are missing."""
    return {row.queue: _counted(int(row.jobs)) for row in statements.queues.execute(connection, most=FAR + 1)}


def queues(
    connection: Connection, instance: str, heartbeat: Heartbeat, *, keys: int = 0, of: str | None = None
) -> tuple[list[QueueGlance], Roster]:
    """The queues by name, and the nodes.

    :param instance: the name of the instance whose nodes are meant. All jobs are counted, because they belong to none.
    :param heartbeat: when a node counts as stale, for nodes that don't publish that.
    :param keys: how many of the busiest partitions of each queue to read. Default: none.
    :param of: the queue whose partitions are read. Default: all.
    """
    available = {row.queue: row for row in statements.queues.execute(connection, most=FAR + 1)}
    running: dict[str, dict[str, int]] = {}
    for row in statements.running_by_node.execute(connection, most=FAR):
        running.setdefault(row.queue, {})[row.node or "?"] = row.jobs
    asked = {row.queue: row for row in asked_of_all.execute(connection, name=instance, everywhere=EVERY_NODE)}
    ended = recent(connection)
    roster = read_roster(connection, heartbeat)
    members: dict[str, list[Member]] = {}
    for member in roster.alive:
        if member.instance == instance:
            members.setdefault(member.queue, []).append(member)
    names = sorted({*available, *running, *asked, *members})
    usage = read_usage(connection, {name: members.get(name, []) for name in names}, keys=keys, of=of)
    return [
        _queue(name, available.get(name), running.get(name, {}), asked.get(name), ended.get(name, {}),
               members.get(name, []), usage.get(name))
        for name in names
    ], roster  # fmt: skip


def idle(connection: Connection, name: str) -> QueueGlance | None:
    """A queue that :func:`queues` leaves out, because its jobs have ended or are due later.

    :returns: the queue; None when none of the newest :data:`FAR` jobs is in it.
    """
    there = statements.is_queue_of_newest.execute(connection, queue=name, most=FAR).scalar_one()
    return _queue(name, None, {}, None, {}, [], None) if there else None


def recent(connection: Connection) -> dict[str, dict[str, float]]:
    """How many jobs ended per second, by queue and final state, over the last :data:`RECENT` seconds."""
    rates: dict[str, dict[str, float]] = {}
    rows = statements.ended.execute(connection, seconds=RECENT, most=FAR).all()
    for row in rows:
        # When counting stopped, the number is that of a shorter time.
        total = sum(other.jobs for other in rows if other.state == row.state)
        within = RECENT if total < FAR else max(o.within for o in rows if o.state == row.state)
        rates.setdefault(row.queue, {})[row.state] = row.jobs / max(within, 1.0)
    return rates


def due(connection: Connection) -> dict[str, Count]:
    """How many of the first :data:`FAR` jobs are due within :data:`SOON` seconds, by their state."""
    rows = statements.due.execute(connection, seconds=SOON, most=FAR + 1).all()
    cut = sum(row.jobs for row in rows) > FAR
    return {row.state: Count(row.jobs, "more" if cut else "exact") for row in rows}


def _queue(
    name: str,
    waiting: Any | None,
    running: Mapping[str, int],
    asked: Any | None,
    ended: Mapping[str, float],
    members: list[Member],
    usage: Usage | None,
) -> QueueGlance:
    number = 0 if waiting is None else int(waiting.jobs)
    rate = sum(ended.values())
    return QueueGlance(
        queue=name,
        waiting=_counted(number),
        oldest=None if waiting is None or waiting.oldest is None else max(waiting.oldest, 0.0),
        running=running,
        rate=rate,
        discarded=ended.get("discarded", 0.0) / rate if rate else None,
        members=tuple(members),
        asked_to_pause=asked is not None and bool(asked.paused),
        asked_to_stop=asked is not None and asked.started is False,
        usage=usage,
    )


def _counted(number: int) -> Count:
    return Count(number) if number <= FAR else Count(FAR, "more")
