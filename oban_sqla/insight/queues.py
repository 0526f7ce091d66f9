"""A queue on a node: as the node itself knows it, or as the database shows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from ..errors import unknown
from ..models.checks import check_name
from ..options.queue import Queue
from ..runtime.node import Node
from ..runtime.producer import Producer


@dataclass(frozen=True, slots=True)
class QueueInfo:
    """The state of a queue on one node.

    :ivar queue: the name of the queue.
    :ivar node: the name of the node.
    :ivar uuid: of its producer, new at each start; the second element of ``Job.attempted_by``.
    :ivar limit: how many jobs can run at once; 0 when a node of another program does not say it.
    :ivar paused: whether it is paused.
    :ivar running: the ids of the jobs that run now.
    :ivar started_at: when it was started on this node.
    """

    queue: str
    node: str
    uuid: UUID
    limit: int
    paused: bool
    running: tuple[int, ...]
    started_at: datetime


@dataclass(frozen=True, slots=True)
class Member(QueueInfo):
    """A queue on a node of the cluster, and whether that node is alive.

    :ivar instance: the name of the instance to which the node belongs.
    :ivar last_beat: its last heartbeat, by the database's clock; None for a time that Python can't represent.
    :ivar silent: seconds since its last heartbeat; None for an infinite time.
    :ivar locked: whether the connection of the node holds the lock of this queue.
    :ivar is_alive: whether its heartbeat is fresh, or its connection is open.
    :ivar is_late: whether its heartbeat is stale, even if its lock is held: it is blocked, stopped, cut off or dead.
    :ivar is_ours: whether it is a node of this package.
    :ivar options: the limits that the node says it obeys.
    :ivar waiting: ids of executing jobs that waited for a child process at the last heartbeat.
    :ivar without_slot: ids of executing jobs that did not count in the limit at the last heartbeat.
    """

    instance: str
    last_beat: datetime | None
    silent: float | None
    locked: bool
    is_alive: bool
    is_late: bool
    is_ours: bool
    waiting: frozenset[int] = frozenset()
    without_slot: frozenset[int] = frozenset()
    options: Queue = field(default_factory=Queue)


def check(node: Node | None, queue: str, configured: set[str]) -> QueueInfo | None:
    """The state of `queue` on `node`; None when it does not run there.

    :param configured: the queues to know when the node has not been started.
    :raises InvalidOption: for a queue that this node does not know.
    """
    names = configured if node is None else node.control.known
    if check_name("queue", queue) not in names:
        raise unknown("queue", queue, names)
    producer = None if node is None else node.producers.get(queue)
    return None if producer is None else _info(producer)


def check_all(node: Node | None) -> list[QueueInfo]:
    """All queues that run on `node`; none when it has not been started."""
    return [] if node is None else [_info(producer) for producer in node.producers.values()]


def _info(producer: Producer) -> QueueInfo:
    return QueueInfo(
        queue=producer.queue,
        node=producer.node,
        uuid=producer.uuid,
        limit=producer.limit,
        paused=producer.paused,
        running=tuple(producer.running),
        started_at=producer.started_at,
    )
