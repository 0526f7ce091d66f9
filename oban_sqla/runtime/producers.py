"""The producers of a node: starting queues, ending them, and waking them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextvars import copy_context

from .. import telemetry
from ..errors import SchemaOutdated
from ..options.queue import Queue
from ..statements.indexes import built_indexes
from ..statements.limits import RING, as_array, partition_by
from .acks import Ack, Acks
from .attempt import Attempt
from .config import Config
from .connections import connect
from .lanes.failure import StatementFailed
from .lanes.lane import Lane
from .liveness import Liveness
from .producer import Producer
from .refusals import Refusals
from .row import Row


class Producers(Mapping[str, Producer]):
    """The producers that run now, by queue.

    :param config: names the node, and how long its jobs may take to end.
    :param fetching: the connection that fetches.
    :param limited: connections that fetch from queues with limits on a node with several queues.
    :param declaring: the connection on which the partitions of queues are declared.
    :param acking: the connection that acknowledges.
    :param acks: where outcomes go.
    :param liveness: keeps their rows and locks.
    :param attempt: makes a run of a row.
    :param refusals: the jobs that the database refuses to change.
    :param suspend: suspends what the ack of a job asks for.
    """

    def __init__(
        self,
        *,
        config: Config,
        fetching: Lane,
        limited: Sequence[Lane],
        declaring: Lane,
        acking: Lane,
        acks: Acks,
        liveness: Liveness,
        attempt: Callable[[Row], Attempt],
        refusals: Refusals,
        suspend: Callable[[Ack, Callable[[], bool]], Awaitable[None]],
    ) -> None:
        # Given, and never written again.
        self._config = config
        self._fetching = fetching
        self._limited = limited
        self._declaring = declaring
        self._acking = acking
        self._acks = acks
        self._liveness = liveness
        self._attempt = attempt
        self._refusals = refusals
        self._suspend = suspend
        # The producers by queue and by key: written by start_queues() and _forget().
        self._by_queue: dict[str, Producer] = {}
        self._by_key: dict[str, Producer] = {}
        # By what this node has partitioned each queue: written by declare().
        self._declared: dict[str, tuple[str, ...]] = {}
        # In which queues run that are started later, maybe by a request: that of the node's start.
        self._context = copy_context()
        # Whether a new producer begins at once: set by start().
        self._are_started = False

    def __getitem__(self, queue: str) -> Producer:
        return self._by_queue[queue]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_queue)

    def __len__(self) -> int:
        return len(self._by_queue)

    def start(self) -> None:
        """Begin to fetch; from now on a new producer begins at once."""
        self._are_started = True
        for producer in self._by_queue.values():
            producer.start()

    async def declare(self, queues: Mapping[str, Queue]) -> None:
        """Partition queues as their options say, where this node has not done so. There is one way for all nodes: that
        of the node that was started or changed last.

        :raises SchemaOutdated: when the indexes for that are missing, before the node has started.
        :raises StatementFailed: when the database did not answer.
        """
        wanted = {name: () if queue.partition is None else queue.partition.fields for name, queue in queues.items()}
        fresh = {name: fields for name, fields in wanted.items() if self._declared.get(name) != fields}
        if not fresh:
            return
        if parted := [name for name, fields in fresh.items() if fields]:
            rows = await self._declaring.run(built_indexes, names=list(RING))
            if missing := set(RING) - {name for (name,) in rows}:
                said = (
                    f"queue {parted[0]!r} is partitioned, and the jobs table lacks {', '.join(sorted(missing))}; run "
                    '`oban-sqla migrate`, or call oban_sqla.migrations.upgrade(op, part="indexes") from a revision'
                )
                if not self._are_started:
                    raise SchemaOutdated(said)
                telemetry.queue_logger.error("%s; fetching from it reads all of its jobs until then", said)
        rows = await self._declaring.run(
            partition_by, queues=list(fresh), fields=[as_array(fields) for fields in fresh.values()]
        )
        self._declared.update(fresh)
        for (name,) in rows:
            by = ", ".join(fresh[name])
            telemetry.queue_logger.info(
                "queue %r is %s", name, f"partitioned by {by}" if by else "no longer partitioned"
            )

    def adjust(self, producer: Producer, options: Queue) -> bool:
        """Let a producer go on with other options. False when nothing is different."""
        changed = producer.adjust(options)
        if changed:
            self._spread()
        return changed

    async def start_queues(self, queues: Mapping[str, Queue]) -> None:
        """Make producers of these queues. Their connections, rows and locks stand before the first job is fetched.

        :raises StatementFailed: when they can't be made; then there are none.
        """
        started = [
            Producer(
                queue=name,
                options=options,
                node=self._config.node,
                lane=self._fetching,
                acks=self._acks,
                attempt=self._attempt,
                refusals=self._refusals,
                suspend=self._suspend,
            )
            for name, options in queues.items()
        ]
        for producer in started:
            producer.context = self._context
        self._by_queue.update({producer.queue: producer for producer in started})
        self._by_key.update({producer.key: producer for producer in started})
        self._spread()
        try:
            await connect({self._fetching, self._acking, *(producer.lane for producer in started)})
            await (self._liveness.step() if self._are_started else self._liveness.first())
        except BaseException as error:
            for producer in started:
                self._forget(producer)
            if isinstance(error, asyncio.CancelledError):  # the statement goes on, and writes their rows
                with contextlib.suppress(StatementFailed):
                    await self._liveness.retire(started)
            raise
        if self._are_started:
            for producer in started:
                producer.start()

    async def end_queue(self, producer: Producer) -> None:
        """Let a producer end as with the whole node; what can't be stopped keeps it alive until it has ended."""
        await producer.stop_fetching()
        await self._finish(producer, self._config.shutdown_grace)
        while not producer.idle:  # noqa: ASYNC110 (threads and acks, which have no event in common)
            await asyncio.sleep(0.05)
        self._forget(producer)
        await self._liveness.retire([producer])

    async def finish(self, grace: float) -> list[Attempt]:
        """Let the jobs of all queues end.

        :param grace: seconds that they may take.
        :returns: the runs that have not ended.
        """
        left: list[Attempt] = []
        for some in await asyncio.gather(*(self._finish(producer, grace) for producer in self._by_queue.values())):
            left += some
        return left

    async def retire(self) -> None:
        """Remove the rows of those that run nothing any more.

        :raises StatementFailed: when that fails.
        """
        await self._liveness.retire([producer for producer in self._by_queue.values() if not producer.running])

    def suspend(self, queue: str, seconds: float) -> None:
        """`queue` is suspended as a whole."""
        if (producer := self._by_queue.get(queue)) is not None:
            producer.suspend(seconds)

    def notice(self, queue: str) -> bool:
        """There may be jobs of `queue` to fetch. Whether this node has room for one."""
        if (producer := self._by_queue.get(queue)) is None:
            return False
        producer.notice()
        return producer.room > 0

    def settled(self, ack: Ack) -> None:
        """The database has taken the ack, or refused it for good."""
        if (producer := self._by_key.get(ack.producer)) is not None:
            producer.settled(ack)

    def _spread(self) -> None:
        """Give queues with limits their own connections: a fetch from one may wait for another node."""
        limited = [producer for producer in self._by_queue.values() if producer.options.is_limited]
        for producer in self._by_queue.values():
            alone = len(self._by_queue) == 1 or producer not in limited
            producer.use(self._fetching if alone else self._limited[limited.index(producer) % len(self._limited)])

    def _forget(self, producer: Producer) -> None:
        del self._by_queue[producer.queue], self._by_key[producer.key]

    async def _finish(self, producer: Producer, grace: float) -> list[Attempt]:
        began = time.monotonic()
        left = await producer.finish(grace)
        orphaned = [attempt.row.id for attempt in left]
        elapsed = time.monotonic() - began
        telemetry.execute("oban.queue.shutdown", queue=producer.queue, elapsed=elapsed, orphaned=orphaned)
        return left
