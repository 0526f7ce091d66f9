"""The queues of the cluster as an operator looks at them, from anywhere: what waits, what runs, and where.

Reads the database, so it needs no started node. :meth:`Oban.check_queues` is the same of one node, from the inside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection

from ..models.queue import EVERY_NODE
from ..options.heartbeat import Heartbeat
from ..statements import overview as statements
from ..statements.census import census
from ..statements.overview import asked_of_all, by_index, duties
from ..statements.statement import Statement
from .roster import Member, Roster
from .roster import read as read_roster

Paused = Literal["whole", "partly", "no"]


@dataclass(frozen=True, slots=True)
class QueueNode:
    """A queue on a live node."""

    queue: str
    node: str
    uuid: str
    """Of its producer."""
    limit: int | None
    """Jobs at once; None when the node does not say."""
    paused: bool
    running: int
    """Jobs that execute under it."""
    started_at: datetime | None
    last_beat: datetime | None
    """Its last sign of life, by the database's clock."""
    silent: float | None
    """Seconds since then."""


@dataclass(frozen=True, slots=True)
class QueueOverview:
    """A queue of the cluster."""

    queue: str
    jobs: Mapping[str, int]
    """How many, by state."""
    oldest: float | None
    """For how many seconds the oldest available job has been due; None when there is none."""
    nodes: tuple[QueueNode, ...]
    """The live nodes that work it."""
    asked_to_pause: bool
    """Whether it was paused on all nodes, also on those that are to come."""

    @property
    def limit(self) -> int:
        """How many jobs run at once on all nodes together."""
        return sum(node.limit or 0 for node in self.nodes)

    @property
    def paused(self) -> Paused:
        """Whether it rests on all of its nodes, on some, or on none; without nodes, what was asked counts."""
        if not self.nodes:
            return "whole" if self.asked_to_pause else "no"
        resting = sum(node.paused for node in self.nodes)
        return "no" if resting == 0 else "whole" if resting == len(self.nodes) else "partly"


@dataclass(frozen=True, slots=True)
class Overview:
    """The cluster."""

    queues: tuple[QueueOverview, ...]
    """By name: those that have jobs or nodes, or of which something was asked."""
    roster: Roster

    def find(self, queue: str) -> QueueOverview | None:
        """The queue of that name."""
        return next((found for found in self.queues if found.queue == queue), None)

    @property
    def nodes(self) -> list[str]:
        """The names of the live nodes that work any queue."""
        return sorted({node.node for queue in self.queues for node in queue.nodes})


def read(connection: Connection, instance: str, count: Statement = census) -> Overview:
    """The cluster at this moment.

    :param instance: whose nodes are meant. Jobs belong to no instance, so all of them are counted.
    :param count: the statement that counts them: `census`, or `census_of_all`, which reads the whole table.
    """
    if count is census:
        by_index.execute(connection)
    counted = count.execute(connection).all()
    asked = asked_of_all.execute(connection, name=instance, everywhere=EVERY_NODE).all()
    doing = {row.key: row for row in duties.execute(connection)}
    roster = read_roster(connection, Heartbeat())
    nodes = [_node(member, doing.get(member.key)) for member in roster.alive if member.name == instance]
    names = {row.queue for row in counted} | {row.queue for row in asked} | {node.queue for node in nodes}
    paused = {row.queue for row in asked if row.paused}
    of_queue: dict[str, tuple[list[Any], list[QueueNode]]] = {name: ([], []) for name in sorted(names)}
    for row in counted:
        of_queue[row.queue][0].append(row)
    for node in nodes:
        of_queue[node.queue][1].append(node)
    return Overview(tuple(_queue(name, *found, name in paused) for name, found in of_queue.items()), roster)


def rates(connection: Connection, seconds: float) -> dict[str, float]:
    """Jobs of each queue that finished, a second, over the last `seconds`."""
    return {row.queue: row.jobs / seconds for row in statements.finished.execute(connection, seconds=seconds)}


def running(connection: Connection, most: int) -> Sequence[Any]:
    """The jobs that run, the oldest first, at most `most`; see :data:`oban_sqla.statements.overview.running`."""
    return statements.running.execute(connection, most=most).all()


def _queue(name: str, counted: Sequence[Any], nodes: Sequence[QueueNode], paused: bool) -> QueueOverview:
    return QueueOverview(
        queue=name,
        jobs={row.state: row.jobs for row in counted},
        oldest=next((row.oldest for row in counted if row.oldest is not None), None),
        nodes=tuple(nodes),
        asked_to_pause=paused,
    )


def _node(member: Member, doing: Any) -> QueueNode:
    return QueueNode(
        queue=member.queue,
        node=member.node,
        uuid=member.key,
        limit=member.limit,
        paused=member.paused,
        running=0 if doing is None else doing.running,
        started_at=None if doing is None else doing.started_at,
        last_beat=None if doing is None else doing.updated_at,
        silent=member.silent,
    )
