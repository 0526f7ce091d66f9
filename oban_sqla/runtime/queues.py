"""Queues as their operators see them: what runs where, and asking for something else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from ..config import Config
from ..errors import InvalidOption, nearest
from ..limits import Queue
from ..models.queue import EVERY_NODE
from ..models.spec import check_name
from ..statements.control import ask, has_waiting, known
from ..statements.insert import notify
from ..wakeup import schema_of
from .control import Asked
from .signals import ident, signal_channel

if TYPE_CHECKING:
    from .node import Node
    from .producer import Producer


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


class Queues:
    """Asks for changes of queues, and says how they are.

    :param node: gives the started node, if there is one.
    """

    def __init__(self, engine: AsyncEngine, config: Config, node: Callable[[], Node | None]) -> None:
        self._engine = engine
        self._config = config
        self._node = node

    async def ask(self, action: str, queue: str, node: str | None, asked: Asked) -> None:
        """Write down what is asked of `queue`, tell the nodes, and do it here.

        :raises InvalidOption: for a limit out of range, and a queue or a node that nobody has heard of.
        """
        if asked.limit is not None:
            Queue(limit=asked.limit)
        check_name("queue", queue)
        if node is not None:
            check_name("node", node)
        async with self._engine.begin() as connection:
            await connection.run_sync(self._write, action, queue, node, asked)
        if (here := self._node()) is not None:
            await here.control.look()

    def check(self, queue: str) -> QueueInfo | None:
        """How `queue` is here; None where it does not run.

        :raises InvalidOption: for a queue that this node has not heard of.
        """
        node = self._node()
        heard_of = set(self._config.queues) if node is None else node.control.known
        if queue not in heard_of:
            raise _unknown("queue", queue, heard_of)
        producer = None if node is None else node.producers.get(queue)
        return None if producer is None else self._info(producer)

    def check_all(self) -> list[QueueInfo]:
        """All queues that run here."""
        node = self._node()
        return [] if node is None else [self._info(producer) for producer in node.producers.values()]

    def _info(self, producer: Producer) -> QueueInfo:
        return QueueInfo(
            producer.queue,
            self._config.node,
            producer.uuid,
            producer.limit,
            producer.paused,
            tuple(producer.running),
            producer.started_at,
        )

    def _write(self, connection: Connection, action: str, queue: str, node: str | None, asked: Asked) -> None:
        config = self._config
        rows = known.execute(connection, name=config.name).all()
        queues = {*config.queues, *(row.queue for row in rows)}
        nodes = {config.node, *(row.node for row in rows)} - {EVERY_NODE}
        # Anything can be started, and anywhere: a node without queues has no row by which it would be known.
        if action != "start":
            if queue not in queues and not has_waiting.execute(connection, queue=queue).scalar_one():
                raise _unknown("queue", queue, queues)
            if node is not None and node not in nodes:
                raise _unknown("node", node, nodes)
        elif asked.limit is None and queue not in queues:
            raise InvalidOption(f"queue {queue!r}: no node has it configured, so it needs a limit: limit=10")
        ask.execute(
            connection,
            name=config.name,
            queue=queue,
            node=EVERY_NODE if node is None else node,
            started=asked.started,
            paused=asked.paused,
            local_limit=asked.limit,
        )
        if config.notify != "off":
            payload: dict[str, object] = {"action": action, "queue": queue, "ident": ident(config.name, node)}
            if asked.limit is not None:
                payload["limit"] = asked.limit
            if action == "start":
                payload["paused"] = asked.paused
            channel = signal_channel(schema_of(connection))
            notify.execute(connection, channels=[channel], payloads=[json.dumps(payload)])


def _unknown(what: str, name: str, known: Iterable[str]) -> InvalidOption:
    return InvalidOption(f"unknown {what} {name!r}: {nearest(name, sorted(known))}")
