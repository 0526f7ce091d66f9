"""A started runtime: the loops and the connections that it consists of, and the order in which they start and stop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncEngine

from .. import telemetry
from ..enqueueing.wakeup import SOON, note_wake_ups
from ..models import JobSpec
from ..options.queue import Queue
from ..statements.identify import Identity, identify
from ..statements.wire import CRON, INSERTED, LEADER, SIGNAL, STAGED, channel, signal_channel
from ..telemetry import logger
from ..workers.cron import Cron, by_name
from ..workers.registry import workers
from .acks import Ack, Acks
from .announcer import Announcer
from .attempt import Attempt
from .config import Config
from .control import Control
from .duties.leader import Leadership
from .duties.lifeline import Lifeline
from .duties.pruner import Pruner
from .duties.scheduler import Scheduler
from .duties.stager import Stager
from .executors.executor import Executors
from .executors.loop import OnLoop
from .executors.thread import Threads
from .inserts import Inserts
from .lanes.lane import INSERT_ONCE, PLAN_ONCE, Lane, StatementFailed, mark_pooled, twin
from .lanes.pooler import behind_transaction_pooler
from .liveness import Liveness
from .loop import Loop
from .notifier import Notifier
from .producer import Producer
from .row import Row
from .sessions import Sessions
from .verdict import given_back

LAST_ACKS = 5.0
"""Seconds that stopping waits for the database to take the last acks."""


class Node:
    """The loops and lanes of one started runtime.

    :param engine: the user's engine; the node connects like it, apart from its pool.
    :param config: the runtime's options.
    :param schema: where the tables live.
    """

    def __init__(self, engine: AsyncEngine, config: Config, schema: str | None) -> None:
        self.config = config
        self.loop = asyncio.get_running_loop()
        self.thread = threading.get_ident()
        self.origin = uuid4().hex[:12]
        self.engine = engine = twin(engine)
        # Fetching and acknowledging overlap, which is worth half as much again; what is slow at times has its own lane.
        self.fetching, self.acking = (Lane(engine, name, plans=PLAN_ONCE) for name in ("fetching", "acking"))
        self.upkeep = Lane(engine, "upkeep")
        self.leading = Lane(engine, "leading")
        """For the duties that only a leader has; the others never open it."""
        self.inserts = Inserts(Lane(engine, "inserting", plans=INSERT_ONCE), self._written)
        self.threads = Threads(f"oban-{config.name}")
        self.executors: Executors = {"async": OnLoop(), "thread": self.threads}
        self.sessions = Sessions(maker=config.sessionmaker, blocking=self.threads.do)
        self.acks = Acks(self.acking, self._settled)
        self.producers: dict[str, Producer] = {}
        self._by_key: dict[str, Producer] = {}
        self._is_started = False
        self.channels = {channel(name, schema): name for name in (INSERTED, STAGED, LEADER, CRON)}
        self.channels[signal_channel(schema)] = SIGNAL
        self.notifier = Notifier(engine, list(self.channels), self._heard, self._connected)
        self.announcer = Announcer(self.upkeep, schema, self.origin)
        self.leadership = Leadership(
            self.upkeep, schema, config.name, config.node, self.origin, config.leader_ttl, self._elected
        )
        self.stager = Stager(
            self.upkeep, self.leadership, lambda: self.producers, self._notice, self.announcer.inserted,
            self._listens, config.poll_interval,
        )  # fmt: skip
        self.lifeline = Lifeline(
            self.leading, self.leadership, config.heartbeat, config.lifeline_interval, self.inserted
        )
        self.scheduler = Scheduler(engine, self.upkeep, self.leadership, self._crontab)
        self.pruning = Lane(engine, "pruning")
        pruners = () if config.prune is None else (Pruner(self.pruning, self.leadership, config.prune),)
        self.duties: tuple[Loop, ...] = (self.stager, self.lifeline, self.scheduler, *pruners)
        """What also, or only, a leader does; woken when this node is elected."""
        self.liveness = Liveness(
            self.notifier.lane, config.name, config.node, lambda: list(self.producers.values()), config.heartbeat
        )
        self.control = Control(
            self.upkeep, config, self.producers, self._start_queues, self._end_queue, self.liveness.wake, self._listens
        )

    async def reach(self) -> Identity:
        """Meet the database for the first time, and say which it is.

        :raises StatementFailed: when it does not answer.
        """
        if await behind_transaction_pooler(self.engine):
            mark_pooled(self.engine)
            logger.warning(
                "this node connects through a transaction pooler: notifications can't reach it, it polls every %g s, "
                "and a dead node is noticed only by its missing heartbeats (see docs/poolers.md)",
                self.config.poll_interval,
            )
        [(server, database)] = await self.upkeep.run(identify)
        return (server, database)

    async def start(self) -> None:
        await self.notifier.lane.connect()
        await self.control.look()
        await self.leadership.step()  # whoever is alone leads from its start
        await self.scheduler.prepare()
        self._is_started = True
        for loop in self.loops:
            loop.start()

    @property
    def loops(self) -> list[Loop]:
        """Everything that runs in the background."""
        listening = () if self.notifier.lane.pooled else (self.notifier,)
        cluster = (self.liveness, self.leadership, self.control, *self.duties)
        return [*listening, self.acks, self.announcer, *cluster, *self.producers.values()]

    async def stop(self, grace: float) -> list[Ack]:
        await self.control.stop()
        producers = list(self.producers.values())
        await _all([*(producer.stop_fetching() for producer in producers), self._hand_over()])
        left: list[Attempt] = []
        for rest in await asyncio.gather(*(_finish(producer, grace) for producer in producers)):
            left += rest
        await self._send_last_acks()
        await self.inserts.stop()
        await _all(loop.stop() for loop in (*self.duties, self.announcer, self.notifier))
        for attempt in left:
            logger.error("job %d (%s) did not stop", attempt.row.id, attempt.row.worker)
        if left:
            # Their jobs must not be run beside them: the node gives signs of life until they have ended, too.
            self._outlasting = asyncio.create_task(self._outlast(left), name="oban_sqla outlasting")
        else:
            await self._part()
        return [given_back(attempt.row) for attempt in left]

    async def _outlast(self, left: Iterable[Attempt]) -> None:
        try:
            await asyncio.wait([attempt.task for attempt in left if attempt.task is not None])
            await self._send_last_acks()
        finally:
            await self._part()

    async def _part(self) -> None:
        await _all(loop.stop() for loop in (self.liveness, self.acks))
        try:
            await self.liveness.retire([producer for producer in self.producers.values() if not producer.running])
        except StatementFailed as error:
            logger.warning("could not delete the rows of the stopped producers, which stay until stale: %s", error)
        await self.close()

    async def _send_last_acks(self) -> None:
        deadline = time.monotonic() + LAST_ACKS
        while len(self.acks) and time.monotonic() < deadline:
            self.acks.wake()
            await asyncio.sleep(0.01)

    async def _start_queues(self, queues: Mapping[str, Queue]) -> None:
        started = [
            Producer(
                queue=name,
                options=options,
                node=self.config.node,
                lane=self.fetching,
                acks=self.acks,
                attempt=self._attempt,
            )
            for name, options in queues.items()
        ]
        self.producers.update({producer.queue: producer for producer in started})
        self._by_key.update({producer.key: producer for producer in started})
        try:
            await self.liveness.step()  # their rows and locks stand before the first job is fetched
        except BaseException:
            for producer in started:
                self._forget(producer)
            raise
        if self._is_started:
            for producer in started:
                producer.start()

    async def _end_queue(self, producer: Producer) -> None:
        """Let a producer end as with the whole node; what can't be stopped keeps it alive until it has ended."""
        await producer.stop_fetching()
        await _finish(producer, self.config.shutdown_grace)
        while not producer.idle:  # noqa: ASYNC110 (threads and acks, which have no event in common)
            await asyncio.sleep(0.05)
        self._forget(producer)
        await self.liveness.retire([producer])

    def _forget(self, producer: Producer) -> None:
        del self.producers[producer.queue], self._by_key[producer.key]

    async def _hand_over(self) -> None:
        """A successor leads from now on, not when the last job here has ended."""
        await self.leadership.stop()
        await self.leadership.resign()

    async def close(self) -> None:
        self.threads.close()
        lanes = (self.fetching, self.acking, self.upkeep, self.leading, self.pruning, self.inserts.lane)
        await _all(lane.close() for lane in (*lanes, self.notifier.lane))
        await self.engine.dispose()

    def call(self, fn: Callable[..., object], *args: object) -> None:
        """Call `fn` on the loop's thread: at once when this is it."""
        if threading.get_ident() == self.thread:
            fn(*args)
        elif not self.loop.is_closed():
            self.loop.call_soon_threadsafe(fn, *args)

    def inserted(self, queues: set[str]) -> None:
        for queue in queues:
            self._notice(queue)
        self.announcer.inserted(queues)

    def soon(self) -> None:
        if self.leadership.leads:
            self.stager.wake()
        self.announcer.soon()

    def _written(self, specs: Sequence[JobSpec]) -> None:
        queues: set[str] = set()
        soon: set[str] = set()
        note_wake_ups(specs, queues, soon)
        if queues:
            self.inserted(queues)
        if soon:
            self.soon()

    def _notice(self, queue: str) -> None:
        if (producer := self.producers.get(queue)) is not None:
            producer.notice()

    def _heard(self, name: str, payload: dict[str, Any]) -> None:
        if payload.get("from") == self.origin:
            return
        match self.channels.get(name):
            case "insert":
                self._notice(str(payload.get("queue")))
            case "stage":
                if self.leadership.leads:
                    self.stager.wake()
            case "leader":
                self.leadership.wake()
            case "cron":
                self.scheduler.wake()
            case "signal":
                self.control.hear(payload)
            case _:
                pass

    def _crontab(self) -> dict[str, Cron]:
        known = (workers.get(name) for name in workers)
        decorated = (worker.cron_entry for worker in known if worker is not None)
        return by_name((cron for cron in decorated if cron is not None), self.config.crontab)

    def _listens(self) -> bool:
        return self.config.notify != "off" and not self.notifier.lane.pooled

    def _elected(self) -> None:
        for loop in self.duties:
            loop.wake()

    def _connected(self) -> None:
        self.liveness.wake()  # its locks went with the connection before
        self.control.wake()
        for producer in self.producers.values():
            producer.notice()

    def _settled(self, ack: Ack) -> None:
        if (producer := self._by_key.get(ack.producer)) is not None:
            producer.settled(ack)
        if ack.state == "available":
            self.inserted({ack.queue})  # a job that was given back waits like a new one, here or elsewhere
        if ack.delay is not None and ack.delay <= SOON and ack.state in ("scheduled", "retryable"):
            self.soon()

    def _attempt(self, row: Row) -> Attempt:
        return Attempt(row=row, executors=self.executors, sessions=self.sessions, hooks=self.config.hooks)


async def _finish(producer: Producer, grace: float) -> list[Attempt]:
    began = time.monotonic()
    left = await producer.finish(grace)
    orphaned = [attempt.row.id for attempt in left]
    elapsed = time.monotonic() - began
    telemetry.execute("oban.queue.shutdown", queue=producer.queue, elapsed=elapsed, orphaned=orphaned)
    return left


async def _all(work: Iterable[Any]) -> None:
    for result in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(result, BaseException):
            logger.warning("error while stopping: %s: %s", type(result).__name__, result)
