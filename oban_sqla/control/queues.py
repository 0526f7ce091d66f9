"""Changes of queues: pause, resume, scale, start and stop, asked for as rows that the nodes obey."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from ..errors import InvalidOption, unknown
from ..models.checks import check_name
from ..models.queue import EVERY_NODE
from ..options.queue import Queue
from ..runtime.config import Config
from ..runtime.control import Asked
from ..statements.control import ask, has_waiting, known
from ..statements.identify import schema_of
from ..statements.notify import notify
from ..statements.wire import ident, signal_channel
from .engines import Engines

if TYPE_CHECKING:
    from ..runtime.node import Node


class Queues:
    """Asks for changes of queues.

    :param node: gives the started node, if there is one.
    """

    def __init__(self, engines: Engines, config: Config, node: Callable[[], Node | None]) -> None:
        self._engines = engines
        self._config = config
        self._node = node

    async def ask(self, action: str, queue: str, node: str | None, asked: Asked) -> None:
        """Write down what is asked of `queue`, tell the nodes, and do it here.

        :raises InvalidOption: for a limit out of range, and for an unknown queue or node.
        """
        if asked.limit is not None:
            Queue(limit=asked.limit)
        check_name("queue", queue)
        if node is not None:
            check_name("node", node)
        async with self._engines.here() as engine, engine.begin() as connection:
            await connection.run_sync(self._write, action, queue, node, asked)
        if (here := self._node()) is None:
            return
        if here.runs_here:
            await here.control.look()
        else:
            here.asked()

    def _write(self, connection: Connection, action: str, queue: str, node: str | None, asked: Asked) -> None:
        config = self._config
        rows = known.execute(connection, name=config.name).all()
        queues = {*config.queues, *(row.queue for row in rows)}
        nodes = {config.node, *(row.node for row in rows)} - {EVERY_NODE}
        # Anything can be started, and anywhere: a node without queues has no row by which it would be known.
        if action != "start":
            if queue not in queues and not has_waiting.execute(connection, queue=queue).scalar_one():
                raise unknown("queue", queue, queues)
            if node is not None and node not in nodes:
                raise unknown("node", node, nodes)
        elif asked.limit is None and queue not in queues:
            raise InvalidOption(
                f"queue {queue!r}: no node is configured with it, so it needs a limit, such as limit=10"
            )
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
