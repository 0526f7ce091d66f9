"""The queues that this node runs, read from its memory."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from ..errors import unknown
from ..runtime.node import Node
from ..runtime.producer import Producer


@dataclass(frozen=True, slots=True)
class QueueInfo:
    """A queue on this node, at the moment when it was asked for."""

    queue: str
    node: str
    uuid: UUID
    """Of its producer; drawn for each start, and the second of a job's ``attempted_by``."""
    limit: int
    paused: bool
    running: tuple[int, ...]
    """The ids of the jobs that run."""
    started_at: datetime


def check(node: Node | None, queue: str, configured: set[str]) -> QueueInfo | None:
    """How `queue` is on `node`; None where it does not run.

    :param configured: the queues of a node that has not been started.
    :raises InvalidOption: for a queue that this node has not heard of.
    """
    heard_of = configured if node is None else node.control.known
    if queue not in heard_of:
        raise unknown("queue", queue, heard_of)
    producer = None if node is None else node.producers.get(queue)
    return None if producer is None else _info(producer)


def check_all(node: Node | None) -> list[QueueInfo]:
    """All queues that run on `node`; none where it has not been started."""
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
