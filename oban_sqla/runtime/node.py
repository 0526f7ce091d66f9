"""A started runtime: the loops and the connections that it consists of, and the order in which they start and stop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from uuid import uuid4

from sqlalchemy import Pool
from sqlalchemy.ext.asyncio import AsyncEngine

from ..enqueueing.composed import are_news
from ..enqueueing.wakeup import SOON, Notify, note_wake_ups, serve, unserve
from ..models import JobSpec
from ..statements.identify import Identity, schema_of
from ..statements.wire import EVENTS, channel
from ..telemetry import node_logger as logger
from ..workers.running_loop import running_loop
from .acks import Ack, Acks
from .announcer import Announcer
from .chunk_attempt import attempt_of
from .config import Config
from .connections import Connections
from .control import Control
from .durable.steps import Steps
from .duties.background import background_duties
from .duties.duty import Duty
from .duties.leader import Leadership
from .duties.lifeline import Lifeline
from .duties.scheduler import Scheduler, of_workers
from .duties.stager import Stager
from .ending import Ending, log_errors
from .executors.loop import OnLoop
from .executors.stall import Stall
from .executors.thread import Threads
from .group_of import loaders
from .hearing import Hearing
from .host import Host
from .inserts import Inserts
from .journal.job_log import JobLog
from .journal.readers import Readers
from .journal.scribe import Scribe
from .liveness import Liveness
from .loop import Loop
from .measures import Measures
from .notifier import Notifier
from .producers import Producers
from .refusals import Refusals
from .releaser import Releaser
from .resources import Resources
from .row import Row
from .sessions import Sessions
from .settled import is_settled
from .signals import Signals
from .suspensions import Suspensions
from .waiter import Waiter


class Node:
    """The loops and connections of one started runtime; also the :class:`Runtime` that sessions of the process wake.

    :param engine: the user's engine; the node connects like it, apart from its pool.
    :param config: the runtime's options.
    :param runtime: given to the jobs that ask for it.
    """

    def __init__(self, *, engine: AsyncEngine, config: Config, runtime: object = None) -> None:
        self.config = config
        self.notify: Notify = config.notify
        self.encryption = config.encryption
        self.pool: Pool = engine.sync_engine.pool
        self.schema = schema = schema_of(engine.sync_engine)
        self.identity: Identity = ("", "")
        """Of the database; known after :meth:`reach`."""
        self.is_started = False
        """Whether its queues have begun, so that it has to be stopped. Written by `start`."""
        # Written by stop(), and kept: what it has left running goes on while this object lives.
        self._ending: Ending | None = None
        # Where the node was made: never written again.
        self._loop = asyncio.get_running_loop()
        origin = uuid4().hex[:12]  # its name on the wire

        self.connections = at = Connections(engine)
        self.threads = Threads(f"oban-{config.name}")
        self.resources = Resources(config.resources, runtime, loaders(engine))
        self.sessions = Sessions(makers=config.sessionmaker, blocking=self.threads.do)
        self.inserts = Inserts(lane=at.inserting, written=self._written)
        self.steps = Steps(at.steps)
        self.signals = Signals(
            lane=at.inserting, schema=schema, origin=origin, encryption=config.encryption, sent=self.signalled
        )
        refusals = Refusals()
        self.acks = Acks(lane=at.acking, settled=self._settled, refusals=refusals)
        self.readers = Readers()
        """Of events of jobs, on this event loop."""
        self.scribe = Scribe(
            lane=at.telling,
            channel=None if config.notify == "off" else channel(EVENTS, schema),
            origin=origin,
            most_lines=0 if config.job_logs is None else config.job_logs.most,
            written=self.readers.written,
        )
        self._job_log = None if config.job_logs is None else JobLog(self.scribe, config.job_logs.number)
        hearing = Hearing(self, schema=schema, origin=origin)
        self.notifier = Notifier(
            lane=at.listening,
            driver=engine.dialect.driver,
            channels=hearing.channels,
            heard=hearing.heard,
            connected=self._connected,
        )
        self.announcer = Announcer(lane=at.upkeep, schema=schema, origin=origin)
        self.waiter = Waiter(lane=at.upkeep, schema=schema, origin=origin, listens=self._listens)
        self.releaser = Releaser(at.releasing, available=self._available, soon=self._due_soon, acted=self.waiter.acted)
        self.liveness = Liveness(
            lane=at.upkeep,
            listening=at.listening,
            name=config.name,
            node=config.node,
            heartbeat=config.heartbeat,
            producers=lambda: list(self.producers.values()),
        )
        self.suspensions = Suspensions(
            lane=at.upkeep,
            schema=schema,
            notifies=config.notify != "off",
            suspended=lambda queue, seconds: self.control.suspended(queue, seconds),
        )
        self.measures = Measures(lane=at.upkeep, node=config.node, counts=config.metrics)
        self.host = Host(
            executors={"async": OnLoop(Stall()), "thread": self.threads},
            sessions=self.sessions,
            resources=self.resources,
            journals=self.scribe,
            store=self.steps,
            hooks=config.hooks,
            log_exceptions=config.log_exceptions,
            measure=self.measures.told,
        )
        """Of its jobs. What makes the node writes its remotes, before the start."""
        self.producers = Producers(
            config=config,
            fetching=at.fetching,
            limited=at.limited,
            declaring=at.upkeep,
            acking=at.acking,
            acks=self.acks,
            liveness=self.liveness,
            attempt=partial(attempt_of, self.host),
            refusals=refusals,
            suspend=self.suspensions.write,
        )
        self.control = Control(
            lane=at.upkeep, config=config, producers=self.producers, beat=self.liveness.wake, listens=self._listens
        )
        self.leadership = leadership = Leadership(
            lane=at.upkeep,
            schema=schema,
            name=config.name,
            node=config.node,
            origin=origin,
            ttl=config.leader_ttl,
            elected=self._elected,
            competes=config.leadership,
        )
        self.stager = Stager(
            lane=at.upkeep,
            leadership=leadership,
            poll_interval=config.poll_interval,
            queues=lambda: self.producers,
            noticed=self.producers.notice,
            staged=self.announcer.inserted,
            listens=self._listens,
            refusals=refusals,
            news=self.releaser.wake,
        )
        self.lifeline = Lifeline(
            lane=at.leading,
            leadership=leadership,
            heartbeat=config.heartbeat,
            interval=config.lifeline_interval,
            available=self._available,
            refusals=refusals,
        )
        self.scheduler = Scheduler(
            lane=at.upkeep, leadership=leadership, engine=at.line.engine, own=lambda: of_workers(config.crontab)
        )
        background = background_duties(
            config, at, leadership, available=self._available, news=self.releaser.wake, refusals=refusals
        )
        self.duties: list[Duty] = [self.stager, self.lifeline, self.scheduler, *background]
        """Woken when this node is elected."""

    @property
    def loops(self) -> list[Loop]:
        """Everything that runs in the background."""
        listening = [self.notifier] if self.connections.line.pooled is False else []
        own = [self.acks, self.announcer, self.releaser, self.scribe, self.waiter, self.measures]
        return [*listening, *own, self.liveness, self.leadership, self.control, *self.duties, *self.producers.values()]

    async def reach(self) -> None:
        """Connect for the first time, and find out what the database is.

        :raises StatementFailed: when it does not answer.
        :raises DatabaseUnavailable: when the engine's settings do not work behind a transaction pooler.
        """
        line = self.connections.line
        was_known = line.pooled is not None
        self.identity = await self.connections.reach(fetches=bool(self.config.queues))
        if line.pooled and not was_known:
            logger.warning(
                "this node connects through a transaction pooler: notifications can't reach it, it polls every %g s, "
                "and a dead node is noticed only by its missing heartbeats (see docs/poolers.md)",
                self.config.poll_interval,
            )

    async def start(self) -> None:
        """Begin to work the queues, and let commits of this process wake this node."""
        await self.control.look()
        self.is_started = True
        if self._job_log is not None:
            self._job_log.attach()
        self.scribe.start()  # before a job runs: one may tell something and end while the node is starting
        self.producers.start()
        await self.leadership.first()  # a node that is alone leads from its start
        await self.scheduler.prepare()
        for loop in self.loops:
            if not loop.is_alive:
                loop.start()
        serve(self)

    async def stop(self, grace: float) -> list[Ack]:
        """Stop fetching, let running jobs end, cancel the others, hand over, and disconnect.

        :param grace: seconds that running jobs may take to end.
        :returns: what gives those jobs back that could not be stopped.
        """
        unserve(self)
        self._ending = Ending(self)
        return await self._ending.run(grace)

    async def close(self) -> None:
        """Close what was made for the jobs, and disconnect."""
        if self._job_log is not None:
            self._job_log.detach()
        await self.resources.close()
        self.threads.close()
        await self.liveness.stop()  # a start that has failed may have left it with locks to take
        log_errors(await self.connections.close())

    @property
    def runs_here(self) -> bool:
        """Whether its event loop runs this code."""
        return running_loop() is self._loop

    @property
    def can_be_woken(self) -> bool:
        """Whether its event loop runs."""
        return self._loop.is_running()

    def inserted(self, queues: Iterable[str]) -> None:
        """Jobs of `queues` were committed. May be called from any thread."""
        self._call(self._available, set(queues))

    def woke(self, queues: Iterable[str], soon: bool) -> None:
        """A child has committed jobs of `queues`, and perhaps one that is due soon; or neither, but news."""
        if names := set(queues):
            self.inserted(names)
        if soon:
            self.soon()
        elif not names:
            self.news()

    async def settled(self, row: Row) -> bool:
        """Whether the job of `row` no longer belongs to the run that fetched it."""
        return await is_settled(self.connections.upkeep, row)

    def asked(self) -> None:
        """An operator has asked for something. May be called from any thread."""
        self._call(self.control.wake)

    def soon(self) -> None:
        """A job will be due within seconds. May be called from any thread."""
        self._call(self._due_soon)

    def news(self) -> None:
        """There may be news of flows, batches, chains or signals. May be called from any thread."""
        self._call(self.releaser.wake)

    def signalled(self, job_id: object) -> None:
        """A signal was sent to this job, by this node or by another one."""
        self.steps.woke(job_id)
        self.releaser.signalled()

    def _call(self, fn: Callable[..., object], *args: object) -> None:
        """Call `fn` on the node's loop: at once when that runs this."""
        if self.runs_here:
            fn(*args)
        else:
            with contextlib.suppress(RuntimeError):  # its loop has been closed without a stop
                self._loop.call_soon_threadsafe(fn, *args)

    def _available(self, queues: set[str]) -> None:
        has_room = [self.producers.notice(queue) for queue in queues]
        self.announcer.inserted(queues, fetched_here=all(has_room))

    def _due_soon(self) -> None:
        if self.leadership.leads:
            self.stager.wake()
        self.announcer.soon()

    def _written(self, specs: Sequence[JobSpec]) -> None:
        queues: set[str] = set()
        soon: set[str] = set()
        note_wake_ups(specs, queues, soon)
        if queues:
            self._available(queues)
        if soon:
            self._due_soon()
        if are_news(specs):
            self.releaser.wake()

    @property
    def listens(self) -> bool:
        """Whether notifications reach this node."""
        return self._listens()

    def _listens(self) -> bool:
        return self.notify != "off" and self.connections.line.pooled is False

    def _elected(self) -> None:
        for loop in self.duties:
            loop.wake()

    def _connected(self) -> None:
        self.readers.look()
        self.liveness.wake()  # its locks went with the connection before
        self.control.wake()
        self.waiter.connected()
        for producer in self.producers.values():
            producer.notice()

    def _settled(self, ack: Ack) -> None:
        self.producers.settled(ack)
        if ack.tells:
            self.releaser.wake()
        self.waiter.settled(ack.id)
        if ack.state == "available":
            self._available({ack.queue})  # a job that was given back waits like a new one, here or elsewhere
        if ack.delay is not None and ack.delay <= SOON and ack.state in ("scheduled", "retryable"):
            self._due_soon()
