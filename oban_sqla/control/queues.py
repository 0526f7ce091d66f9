"""Changes of queues: pause, resume, scale, start and stop, asked for as rows that the nodes obey."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from ..errors import InvalidOption, SchemaOutdated, unknown
from ..models.checks import check_name
from ..models.queue import EVERY_NODE
from ..options.limits import Partition
from ..options.queue import LIMITS, Queue
from ..runtime.config import Config
from ..runtime.control import Asked
from ..statements.control import ask, has_waiting, known
from ..statements.identify import schema_of
from ..statements.indexes import built_indexes
from ..statements.limits import RING, as_array, partition_by
from ..statements.notify import notify
from ..statements.wire import ident, signal_channel
from ..types import UNSET, Unset
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

    async def scale(
        self, queue: str, node: str | None, limit: int | Unset | None, limits: Mapping[str, object]
    ) -> None:
        """Ask for other limits of `queue`; None lifts one, and what is unset stays as it is.

        :param limits: of the cluster, by the names of a queue's options.
        :raises InvalidOption: for a value that is not valid, none at all, and limits of the cluster for one node.
        :raises SchemaOutdated: for a partition without its indexes.
        """
        given = {name: value for name, value in limits.items() if value is not UNSET}
        if limit is UNSET and not given:
            raise InvalidOption(f"scale_queue: expected limit=… or one of {', '.join(LIMITS)}, got none of them")
        if given and node is not None:
            raise InvalidOption(
                f"scale_queue: {', '.join(given)} hold for the whole cluster, not for one node; leave out node={node!r}"
            )
        partition = given.get("partition")
        checked: dict[str, Any] = {"global_limit": 1} if isinstance(partition, Partition) and partition.burst else {}
        checked |= given
        if limit is not None and limit is not UNSET:
            checked["limit"] = limit
        Queue(**checked)
        as_json = {name: getattr(value, "as_json", value) for name, value in given.items()}
        asked = Asked(limit=None if limit is UNSET else limit, limits=as_json, forget_limit=limit is None)
        await self.ask("scale", queue, node, asked)

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
            limits=json.dumps(asked.limits) if asked.limits else None,
            forget=asked.forget_limit,
        )
        if "partition" in asked.limits:
            self._partition(connection, queue, asked.limits["partition"])
        if config.notify != "off":
            heard = action != "scale" or asked.limit is not None  # limits of the cluster are ours alone
            payload: dict[str, object] = {
                "action": action if heard else "limits",
                "queue": queue,
                "ident": ident(config.name, node),
            }
            if asked.limit is not None:
                payload["limit"] = asked.limit
            if action == "start":
                payload["paused"] = asked.paused
            channel = signal_channel(schema_of(connection))
            notify.execute(connection, channels=[channel], payloads=[json.dumps(payload)])

    def _partition(self, connection: Connection, queue: str, partition: Mapping[str, Any] | None) -> None:
        fields: list[str] = [] if partition is None else partition["by"]
        if fields:
            built = {name for (name,) in built_indexes.execute(connection, names=list(RING))}
            if missing := set(RING) - built:
                raise SchemaOutdated(
                    f"scale_queue: a partition needs the indexes {', '.join(sorted(missing))} of the jobs table; run "
                    '`oban-sqla migrate`, or call oban_sqla.migrations.upgrade(op, part="indexes") from a revision'
                )
        partition_by.execute(connection, queues=[queue], fields=[as_array(fields)])
