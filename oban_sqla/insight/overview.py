"""The queues of the cluster as an operator sees them: which jobs wait, which run, and where.

It reads the database, so it needs no started node. :meth:`Oban.check_queues` shows the queues of one node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection

from ..models.queue import EVERY_NODE
from ..options.heartbeat import Heartbeat
from ..statements import overview as statements
from ..statements.census import census
from ..statements.overview import asked_of_all, by_index
from ..statements.statement import Statement
from .limits import Usage
from .limits import read as read_usage
from .queues import Member
from .roster import Roster, nodes
from .roster import read as read_roster

Paused = Literal["whole", "partly", "no"]
State = Literal["running", "paused", "partly paused", "stopped", "not run"]


@dataclass(frozen=True, slots=True)
class QueueOverview:
    """A queue of the cluster, on all of its nodes.

    :ivar queue: its name.
    :ivar jobs: how many jobs it has, by state.
    :ivar oldest: for how many seconds the oldest available job has been due; None when there is none.
    :ivar members: the queue on each of the living nodes that work it.
    :ivar asked_to_pause: whether it was paused on all nodes, including nodes that start later.
    :ivar asked_to_stop: whether it was stopped on all nodes, including nodes that start later.
    :ivar usage: its limits across the cluster, and how far they are used; None when it has none and is not suspended.
    """

    queue: str
    jobs: Mapping[str, int]
    oldest: float | None
    members: tuple[Member, ...]
    asked_to_pause: bool
    asked_to_stop: bool
    usage: Usage | None

    @property
    def limit(self) -> int:
        """How many jobs can run at once on all nodes together."""
        return sum(member.limit for member in self.members)

    @property
    def state(self) -> State:
        """Whether jobs of the queue are run now, and if not, why."""
        if not self.members:
            return "stopped" if self.asked_to_stop else "not run"
        states: dict[Paused, State] = {"no": "running", "whole": "paused", "partly": "partly paused"}
        return states[self.paused]

    @property
    def paused(self) -> Paused:
        """Whether it is paused on all of its nodes, on some, or on none. Without nodes: whether a pause was asked."""
        if not self.members:
            return "whole" if self.asked_to_pause else "no"
        count = sum(member.paused for member in self.members)
        return "no" if count == 0 else "whole" if count == len(self.members) else "partly"


@dataclass(frozen=True, slots=True)
class Overview:
    """The queues of the cluster.

    :ivar queues: by name: those that have jobs or nodes, or that were paused, scaled, started or stopped.
    :ivar roster: the nodes and leaders of all instances.
    """

    queues: tuple[QueueOverview, ...]
    roster: Roster

    def find(self, queue: str) -> QueueOverview | None:
        """The queue of that name; None when there is none."""
        return next((overview for overview in self.queues if overview.queue == queue), None)

    @property
    def nodes(self) -> list[str]:
        """The names of the living nodes that work any queue."""
        return sorted({name for queue in self.queues for name in nodes(queue.members)})


def read(connection: Connection, instance: str, heartbeat: Heartbeat, count: Statement = census) -> Overview:
    """The queues at this moment.

    :param instance: the name of the instance whose nodes are meant. All jobs are counted, because they belong to none.
    :param heartbeat: when a node counts as stale, for nodes that don't publish that.
    :param count: the statement that counts jobs: `census`, or `census_of_all`, which reads the whole table.
    """
    if count is census:
        by_index.execute(connection)
    counts = count.execute(connection).all()
    settings = asked_of_all.execute(connection, name=instance, everywhere=EVERY_NODE).all()
    roster = read_roster(connection, heartbeat)
    members = [member for member in roster.alive if member.instance == instance]
    names = {row.queue for row in (*counts, *settings)} | {member.queue for member in members}
    asked = {row.queue: row for row in settings}
    rows_of: dict[str, list[Any]] = {name: [] for name in sorted(names)}
    members_of: dict[str, list[Member]] = {name: [] for name in names}
    for row in counts:
        rows_of[row.queue].append(row)
    for member in members:
        members_of[member.queue].append(member)
    usage = read_usage(connection, members_of)
    queues = tuple(
        _queue(name, rows, members_of[name], asked.get(name), usage.get(name)) for name, rows in rows_of.items()
    )
    return Overview(queues, roster)


def rates(connection: Connection, seconds: float) -> dict[str, float]:
    """Jobs of each queue that finished, per second, over the last `seconds`."""
    return {row.queue: row.jobs / seconds for row in statements.finished.execute(connection, seconds=seconds)}


def running(connection: Connection, most: int) -> Sequence[Any]:
    """The jobs that run, the oldest first, at most `most`; see :data:`oban_sqla.statements.overview.running`."""
    return statements.running.execute(connection, most=most).all()


def _queue(
    name: str, counts: Sequence[Any], members: Sequence[Member], asked: Any | None, usage: Usage | None
) -> QueueOverview:
    return QueueOverview(
        queue=name,
        jobs={row.state: row.jobs for row in counts},
        oldest=next((row.oldest for row in counts if row.oldest is not None), None),
        members=tuple(members),
        asked_to_pause=asked is not None and bool(asked.paused),
        asked_to_stop=asked is not None and asked.started is False,
        usage=usage,
    )
