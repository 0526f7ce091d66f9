"""Changes of queues: pause, resume, scale, start and stop, asked for as rows that the nodes obey."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from weakref import WeakValueDictionary

from sqlalchemy import Connection

from ..errors import InvalidOption, SchemaOutdated, unknown
from ..models.checks import check_name
from ..models.queue import EVERY_NODE
from ..options.limits import Partition, RateLimit
from ..options.queue import LIMITS, Queue
from ..runtime.asked import refuse_partitions
from ..runtime.control import Asked
from ..statements.control import ask, has_waiting, known
from ..statements.identify import schema_of
from ..statements.indexes import built_indexes
from ..statements.limits import RING, as_array, partition_by
from ..statements.notify import notify
from ..statements.wire import ident, signal_channel
from ..types import UNSET, Unset
from .audit import note
from .limiter import Limiter, values_of
from .verbs import Verbs


class QueueVerbs(Verbs):
    """The verbs of :class:`Oban` that change queues."""

    _limiters: WeakValueDictionary[tuple[str, str | None], Limiter]

    async def pause_queue(self, queue: str, *, node: str | None = None) -> None:
        """Stop fetching jobs of a queue. Running jobs continue. Lasts until :meth:`resume_queue`, over restarts too.

        :param queue: the name of the queue.
        :param node: the name of one node. Default: all nodes; this replaces what was set for single nodes before.
        :raises InvalidOption: for an unknown queue or node; the message names the nearest known one.
        :raises DatabaseUnavailable: when the database can't be reached, or does not answer; nothing was changed.
        """
        await self._ask("pause", queue, node, Asked(paused=True))

    async def resume_queue(self, queue: str, *, node: str | None = None) -> None:
        """Fetch jobs of a paused queue again.

        :param queue: the name of the queue.
        :param node: the name of one node. Default: all nodes; this replaces what was set for single nodes before.
        :raises InvalidOption: for an unknown queue or node; the message names the nearest known one.
        :raises DatabaseUnavailable: when the database can't be reached, or does not answer; nothing was changed.
        """
        await self._ask("resume", queue, node, Asked(paused=False))

    async def pause_all_queues(self, *, node: str | None = None) -> list[str]:
        """Stop fetching jobs of every queue, in one transaction. Running jobs continue.

        These are the queues that this node is configured with, those that a node runs now, and those that were changed
        at run time before. Each is paused until it is resumed; a queue that comes later is not paused.

        :param node: the name of one node. Default: all nodes; this replaces what was set for single nodes before.
        :returns: the names of the queues, in order.
        :raises InvalidOption: for an unknown node; the message names the nearest known one.
        :raises DatabaseUnavailable: when the database can't be reached, or does not answer; nothing was changed.
        """
        return await self._ask("pause", None, node, Asked(paused=True))

    async def resume_all_queues(self, *, node: str | None = None) -> list[str]:
        """Fetch jobs of every queue again, in one transaction; also of queues that were paused one by one.

        :param node: the name of one node. Default: all nodes; this replaces what was set for single nodes before.
        :returns: the names of the queues, in order.
        :raises InvalidOption: for an unknown node; the message names the nearest known one.
        :raises DatabaseUnavailable: when the database can't be reached, or does not answer; nothing was changed.
        """
        return await self._ask("resume", None, node, Asked(paused=False))

    async def scale_queue(
        self,
        queue: str,
        limit: int | Unset | None = UNSET,
        *,
        node: str | None = None,
        global_limit: int | Unset | None = UNSET,
        rate_limit: RateLimit | Unset | None = UNSET,
        partition: Partition | Unset | None = UNSET,
    ) -> None:
        """Change the limits of a queue. Running jobs continue. Lasts over restarts, and overrides what is configured.

        What is left out stays as it is.

        :param queue: the name of the queue.
        :param limit: jobs at once on each node, 1 to 10,000. None: what each node is configured with.
        :param node: the name of one node, for `limit` alone. Default: all nodes; this replaces what was set for single
            nodes before.
        :param global_limit: jobs at once on all nodes together, 1 to 1,000,000. None: no such limit.
        :param rate_limit: how many jobs may start in a period, a :class:`RateLimit`. None: any number.
        :param partition: divides the jobs by a key, a :class:`Partition`. None: no partitions.
        :raises InvalidOption: for a value out of range, no value at all, an unknown queue or node, limits of the
            cluster for one node, or a partition by arguments that a worker of the queue encrypts.
        :raises SchemaOutdated: for a partition, if its indexes have not been built.
        :raises DatabaseUnavailable: when the database can't be reached, or does not answer; nothing was changed.
        """
        await self._scale(
            queue, node, limit, {"global_limit": global_limit, "rate_limit": rate_limit, "partition": partition}
        )

    async def start_queue(
        self, queue: str, limit: int | None = None, *, paused: bool = False, node: str | None = None
    ) -> None:
        """Run a queue on nodes that are not configured with it, or again after :meth:`stop_queue`. Lasts over restarts.

        :param queue: the name of the queue; it may be a new one.
        :param limit: jobs at once on each node, 1 to 10,000. Default: the limit that was set or configured before.
        :param paused: start without fetching. Default False.
        :param node: the name of one node. Default: all nodes; this replaces what was set for single nodes before.
        :raises InvalidOption: for a limit out of range, or a new queue without a limit.
        :raises DatabaseUnavailable: when the database can't be reached, or does not answer; nothing was changed.
        """
        await self._ask("start", queue, node, Asked(started=True, paused=paused, limit=limit))

    async def stop_queue(self, queue: str, *, node: str | None = None) -> None:
        """Stop a queue until :meth:`start_queue`, over restarts too. Returns before its running jobs have finished.

        They have ``shutdown_grace`` to finish; then they are cancelled and become available again.

        :param queue: the name of the queue.
        :param node: the name of one node. Default: all nodes; this replaces what was set for single nodes before.
        :raises InvalidOption: for an unknown queue or node; the message names the nearest known one.
        :raises DatabaseUnavailable: when the database can't be reached, or does not answer; nothing was changed.
        """
        await self._ask("stop", queue, node, Asked(started=False))

    def limiter(self, queue: str, partition: object = None) -> Limiter:
        """Use the rate limit of a queue, or of one of its partitions, for work outside of jobs, or suspend it.

        ::

            limiter = oban.limiter("media", partition=7)
            await limiter.wait()

        :param queue: the name of the queue.
        :param partition: the value by which the queue is partitioned, such as a tenant's id, or a worker; a list of
            values where it is partitioned by several. Default: the queue as a whole.
        :returns: an object with ``available``, ``consume``, ``wait``, ``delay``, ``reset`` and ``suspend``.
        :raises InvalidOption: for a blank name.
        :raises InvalidArgs: for a value that JSON can't represent.
        """
        key = (check_name("queue", queue), values_of(partition))
        made = Limiter(self._engines, self.config, lambda: self._node, *key)
        return self._limiters.setdefault(key, made)  # whose waits take turns

    async def _ask(self, action: str, queue: str | None, node: str | None, asked: Asked) -> list[str]:
        """Write down what is asked of `queue`, tell the nodes, and do it here.

        :param queue: None: all that are known.
        :returns: the queues of which it was asked.
        :raises InvalidOption: for a limit out of range, and for an unknown queue or node.
        """
        if asked.limit is not None:
            Queue(limit=asked.limit)
        if queue is not None:
            check_name("queue", queue)
        if node is not None:
            check_name("node", node)
        async with self._engines.transaction() as session:
            queues = await (await session.connection()).run_sync(self._write, action, queue, node, asked)
        if (here := self._node) is not None:
            if here.runs_here:
                await here.control.obey()
            else:
                here.asked()
        return queues

    async def _scale(
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
                f"scale_queue: {', '.join(given)}: a limit of the whole cluster, which can't be one node's; leave out "
                f"node={node!r}"
            )
        partition = given.get("partition")
        # A key can burst within a global limit only, which the queue may have already.
        checked: dict[str, Any] = {"global_limit": 1} if isinstance(partition, Partition) and partition.burst else {}
        checked |= given
        if limit is not None and limit is not UNSET:
            checked["limit"] = limit
        refuse_partitions({queue: Queue(**checked)})
        as_json = {name: getattr(value, "as_json", value) for name, value in given.items()}
        asked = Asked(limit=None if limit is UNSET else limit, limits=as_json, forget_limit=limit is None)
        await self._ask("scale", queue, node, asked)

    def _write(
        self, connection: Connection, action: str, queue: str | None, node: str | None, asked: Asked
    ) -> list[str]:
        config = self.config
        rows = known.execute(connection, name=config.name).all()
        queues = {*config.queues, *(row.queue for row in rows)}
        nodes = {config.node, *(row.node for row in rows)} - {EVERY_NODE}
        # Anything can be started, and anywhere: a node without queues has no row by which it would be known.
        if action != "start":
            if (
                queue is not None
                and queue not in queues
                and not has_waiting.execute(connection, queue=queue).scalar_one()
            ):
                if not queues:
                    raise InvalidOption(f"unknown queue {queue!r}: no node runs one, and no job waits in it")
                raise unknown("queue", queue, queues)
            if node is not None and node not in nodes:
                raise unknown("node", node, nodes)
        elif asked.limit is None and queue not in queues:
            raise InvalidOption(
                f"queue {queue!r}: no node is configured with it, so it needs a limit, such as limit=10"
            )
        wanted = sorted(queues) if queue is None else [queue]
        for one in wanted:
            self._write_one(connection, action, one, node, asked)
        return wanted

    def _write_one(self, connection: Connection, action: str, queue: str, node: str | None, asked: Asked) -> None:
        config = self.config
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
        note(connection, queue=queue)
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
