"""The runtime's public face: one object that is started and stopped."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Never

from sqlalchemy import Engine, Pool
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import sessionmaker
from typing_extensions import Unpack

from .control.crons import Crons
from .control.jobs import Changes, Operations, Target
from .control.queues import Queues
from .control.results import result
from .enqueueing.enqueue import enqueue
from .enqueueing.wakeup import Notify, serve, unserve
from .errors import DatabaseUnavailable, InvalidOption, ObanError, SchemaOutdated, UnsupportedDatabase, refuse_unknown
from .insight.health import Health, health
from .insight.queues import QueueInfo, check, check_all
from .insight.why import Why, why
from .migrations import CURRENT, described, version
from .models import Job, JobSpec
from .options.heartbeat import Heartbeat
from .options.prune import Prune
from .options.queue import Queue
from .runtime.acks import Ack, parameters
from .runtime.config import OPTIONS, Config
from .runtime.control import Asked
from .runtime.inserts import are_plain
from .runtime.lanes.lane import StatementFailed
from .runtime.node import Node
from .statements.ack import acknowledge
from .statements.identify import Identity, schema_of
from .telemetry import logger
from .workers.cron import Cron

DEFAULT_PRUNE = Prune()


class Oban:
    """Works the queues of one database, on the event loop that starts it.

    ::

        async with Oban(engine, queues={"default": 10, "media": Queue(limit=5)}):
            ...

    :param engine: an ``AsyncEngine`` on PostgreSQL (asyncpg or psycopg). The runtime holds four connections of its own
        beside the engine's pool.
    :param queues: names, each with a limit or a :class:`Queue`. Default: none; such a runtime enqueues and wakes
        others.
    :param sessionmaker: makes the sessions of jobs that ask for one.
    :param name: of the instance; several in one database do not share leaders. Default ``"Oban"``.
    :param node: of this process. Default: the host's name and the process id.
    :param notify: how commits of this process wake queues: ``"auto"`` (default), ``"transaction"`` or ``"off"``.
    :param shutdown_grace: seconds that running jobs may take to end when the runtime stops. Default 15.
    :param leader_ttl: seconds that the lease of a leader lasts; renewed at a third. When a leader dies without a word,
        another one leads this much later. Default 15.
    :param heartbeat: see :class:`Heartbeat`.
    :param lifeline_interval: seconds between two looks of the leader for jobs of dead nodes. Default 5.
    :param poll_interval: seconds, the longest time between two looks at the database; up to five times as long, but
        not more than 5 s, where notifications reach the node. Default 1.
    :param prune: when finished jobs are deleted, see :class:`Prune`. Default: after a day. None: never, by this node.
    :param crontab: entries that become due again and again, see :class:`Cron`, beside those of ``@job(cron=…)``.
    :param hooks: objects with ``before(job)`` or ``after(job, state, error)`` around every run. Default: none.
    :param start_timeout: seconds that :meth:`start` waits for a database that does not answer. Default 10.
    :raises InvalidOption: for values outside these, a misspelt option, or an engine that is not asynchronous.
    :raises UnsupportedDatabase: for an engine on another database.

    It installs no signal handlers, configures no logging, and never changes the schema.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        queues: Mapping[str, int | Queue] | None = None,
        *,
        sessionmaker: async_sessionmaker[Any] | sessionmaker[Any] | None = None,
        name: str = "Oban",
        node: str | None = None,
        notify: Notify = "auto",
        shutdown_grace: float = 15.0,
        leader_ttl: float = 15.0,
        heartbeat: Heartbeat | None = None,
        lifeline_interval: float = 5.0,
        poll_interval: float = 1.0,
        prune: Prune | None = DEFAULT_PRUNE,
        crontab: Sequence[Cron] = (),
        hooks: Sequence[object] = (),
        start_timeout: float = 10.0,
        **unknown: Never,
    ) -> None:
        refuse_unknown(unknown, OPTIONS, "Oban")
        self.engine = _checked_engine(engine)
        self.config = Config.checked(
            queues=queues,
            sessionmaker=sessionmaker,
            name=name,
            node=node,
            notify=notify,
            shutdown_grace=shutdown_grace,
            leader_ttl=leader_ttl,
            heartbeat=Heartbeat() if heartbeat is None else heartbeat,
            lifeline_interval=lifeline_interval,
            poll_interval=poll_interval,
            prune=prune,
            crontab=crontab,
            hooks=hooks,
            start_timeout=start_timeout,
        )
        self.crons = Crons(self.engine)
        """The crontab of the cluster, to be read and edited."""
        self.identity: Identity = ("", "")
        self._node: Node | None = None
        self._queues = Queues(self.engine, self.config, lambda: self._node)
        self._jobs = Operations(self.engine, self.config, lambda: self._node)
        self._left: list[Ack] = []

    @property
    def notify(self) -> Notify:
        """How commits of this process wake queues."""
        return self.config.notify

    @property
    def is_leader(self) -> bool:
        """Whether this node leads its instance now: it stages, rescues, prunes and schedules for all nodes."""
        return self._node is not None and self._node.leadership.leads

    @property
    def loops(self) -> dict[str, bool]:
        """The background loops by name, and whether each is alive; empty unless it is running. Asks nobody."""
        return {} if self._node is None else {loop.name: loop.is_alive for loop in self._node.loops}

    @property
    def pool(self) -> Pool:
        """The engine's pool; commits on its connections wake this runtime."""
        return self.engine.sync_engine.pool

    @property
    def schema(self) -> str | None:
        """Where the tables live."""
        return schema_of(self.engine.sync_engine)

    async def __aenter__(self) -> Oban:
        await self.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Connect, check the schema, and begin to work the queues.

        :raises DatabaseUnavailable: when the database does not answer within ``start_timeout``.
        :raises SchemaOutdated: when the tables are missing or older than this package; nothing is created.
        :raises ObanError: when it has been started already.
        """
        if self._node is not None:
            raise ObanError("this Oban is running already; stop it first, or make another one")
        node = Node(self.engine, self.config, self.schema)
        try:
            self.identity = await self._reach(node)
            await self._check_schema()
            await node.start()
        except BaseException:
            await node.close()
            raise
        self._node = node
        serve(self)
        queues = ", ".join(self.config.queues) or "(none)"
        logger.info("%s started on %s with queues %s", self.config.name, self.config.node, queues)

    async def stop(self) -> list[int]:
        """Fetch no more, let running jobs end within ``shutdown_grace``, cancel the others, and disconnect.

        What did not finish is available again at once, with its attempt given back.

        :returns: the ids of jobs that could not be stopped: a thread can't be. They stay executing, and signs of life
            go on, until they end, which counts as always, or the process does, when they are rescued.
        """
        node, self._node = self._node, None
        if node is None:
            return []
        unserve(self)
        self._left = await node.stop(self.config.shutdown_grace)
        logger.info("%s stopped on %s", self.config.name, self.config.node)
        return [ack.id for ack in self._left]

    async def abandon(self) -> int:
        """Give back the jobs that :meth:`stop` could not end. Only for the last act of a process that then leaves.

        While their threads run, other nodes would run the jobs a second time beside them.

        :returns: how many jobs are available again.
        """
        left, self._left = self._left, []
        if not left:
            return 0
        async with self.engine.begin() as connection:
            given = await connection.run_sync(lambda c: acknowledge.execute(c, **parameters(acknowledge, left)).all())
        return len(given)

    async def enqueue(self, specs: JobSpec | Iterable[JobSpec], *more: JobSpec) -> list[JobSpec]:
        """Write jobs in a transaction of their own. See :func:`oban_sqla.enqueue`.

        On a started runtime a few plain jobs take one round trip, and share the commit with others that are enqueued
        at the same time.

        :returns: the specs, each with id, state and conflict.
        """
        few = [specs, *more] if isinstance(specs, JobSpec) else specs
        if self._node is not None and self.notify == "auto" and isinstance(few, list) and are_plain(few):
            await self._node.inserts.insert(few)
            return few
        async with AsyncSession(self.engine) as session, session.begin():
            return await enqueue(session, specs, *more)

    async def cancel(self, target: Target, session: AsyncSession | None = None) -> int:
        """Let jobs not run, or stop: at once where they have not started, else within a second wherever they run.

        A coroutine is cancelled, a thread is told (:func:`oban_sqla.cancelled`); the job becomes ``cancelled``, with an
        error that says so. One that ends in spite of it keeps how it ended, except that it does not run again.

        :param target: an id, a :class:`Job`, a spec that was flushed, a list of these, or ``select(Job)…``.
        :param session: makes it part of this session's transaction. Default: a transaction of its own.
        :returns: how many jobs were changed; finished ones are not.
        """
        return await self._jobs.cancel(target, session)

    async def retry(self, target: Target, session: AsyncSession | None = None) -> int:
        """Let jobs run again, now, also finished ones; a job without an attempt left gets one more.

        Parameters and result are those of :meth:`cancel`; what is available, executing or suspended stays as it is.
        """
        return await self._jobs.retry(target, session)

    async def delete(self, target: Target, session: AsyncSession | None = None) -> int:
        """Delete jobs, except those that execute. Parameters and result are those of :meth:`cancel`."""
        return await self._jobs.delete(target, session)

    async def update(self, target: Target, session: AsyncSession | None = None, **changes: Unpack[Changes]) -> int:
        """Change jobs that neither execute nor have finished: ``await oban.update(job, priority=0)``.

        :param changes: as for :class:`JobSpec`: ``queue``, ``priority``, ``max_attempts`` (never less than was
            attempted), ``tags``, ``meta`` and ``args`` (each replaced as a whole), ``scheduled_at`` or ``schedule_in``.
            A unique job keeps the key with which it was inserted.
        :returns: how many jobs were changed. The other parameters are those of :meth:`cancel`.
        :raises InvalidOption: for a misspelt change or a value that it can't have.
        :raises InvalidArgs: for args that don't fit the jobs' worker, or JSON can't carry.
        """
        return await self._jobs.update(target, session, changes)

    async def result(self, target: JobSpec | Job | int, timeout: float = 5.0, *, with_retries: bool = False) -> Any:
        """Wait until a job has finished, on whichever node, and return what it recorded; None when that is nothing.

        :param target: a committed job.
        :param timeout: seconds. Default 5.
        :param with_retries: go on waiting when an attempt fails. Default False.
        :raises ResultTimeout: when it has not finished in time; it may still do so later.
        :raises JobFailed: when an attempt fails while it is waited for, unless `with_retries`.
        :raises JobDiscarded: when it failed for good.
        :raises JobCancelled: when it was cancelled.
        """
        return await result(self.engine, target, timeout, with_retries)

    async def why(self, target: JobSpec | Job | int) -> Why:
        """Why a job is not running, or what it is doing: ``(await oban.why(42)).reason.text``.

        A few statements by an index, on a connection of the pool; nothing is changed. Needs no started runtime.

        :param target: an id, a :class:`Job`, or a spec that was flushed.
        :returns: its state, and the reasons, the decisive one first, each with the next step to take.
        :raises InvalidOption: for anything else.
        """
        return await why(self.engine, self.config, target)

    async def pause_queue(self, queue: str, *, node: str | None = None) -> None:
        """Fetch no more jobs of `queue`; what runs goes on. Lasts, also over restarts, until :meth:`resume_queue`.

        :param node: only there. Default: on all nodes, whatever was asked of single ones before.
        :raises InvalidOption: for a queue, or a node, that nobody has heard of.
        """
        await self._queues.ask("pause", queue, node, Asked(paused=True))

    async def resume_queue(self, queue: str, *, node: str | None = None) -> None:
        """The end of :meth:`pause_queue`, whose parameters it has."""
        await self._queues.ask("resume", queue, node, Asked(paused=False))

    async def scale_queue(self, queue: str, limit: int, *, node: str | None = None) -> None:
        """Run at most `limit` jobs of `queue` at once on each node, from now on; what runs goes on.

        The rest is as in :meth:`pause_queue`.
        """
        await self._queues.ask("scale", queue, node, Asked(limit=limit))

    async def start_queue(
        self, queue: str, limit: int | None = None, *, paused: bool = False, node: str | None = None
    ) -> None:
        """Work `queue` on nodes that are not configured with it, too, or again after :meth:`stop_queue`. Lasts.

        :param limit: jobs at once on each node. Default: what was asked or configured before.
        :param node: only there. Default: on all nodes.
        :raises InvalidOption: for a limit out of range, or none for a new queue.
        """
        await self._queues.ask("start", queue, node, Asked(started=True, paused=paused, limit=limit))

    async def stop_queue(self, queue: str, *, node: str | None = None) -> None:
        """Work `queue` no more, until :meth:`start_queue`; its jobs have ``shutdown_grace`` to end, and are then given
        back. Does not wait for that. The rest is as in :meth:`pause_queue`.
        """
        await self._queues.ask("stop", queue, node, Asked(started=False))

    def check_queue(self, queue: str) -> QueueInfo | None:
        """How `queue` is on this node; None where it does not run.

        :raises InvalidOption: for a queue that this node has not heard of.
        """
        return check(self._node, queue, set(self.config.queues))

    def check_queues(self) -> list[QueueInfo]:
        """How the queues are that run on this node."""
        return check_all(self._node)

    async def health(self) -> Health:
        """How this node is, for a health check: ``.ok``, and the reasons. Takes three seconds at the most."""
        return await health(self.engine, self.config, self._node)

    def inserted(self, queues: Iterable[str]) -> None:
        """Jobs of `queues` were committed. May be called from any thread; does nothing when it isn't running."""
        if (node := self._node) is not None:
            node.call(node.inserted, set(queues))

    def soon(self) -> None:
        """A job will be due within seconds. May be called from any thread."""
        if (node := self._node) is not None:
            node.call(node.soon)

    async def _reach(self, node: Node) -> Identity:
        deadline = time.monotonic() + self.config.start_timeout
        while True:
            try:
                return await node.reach()
            except StatementFailed as error:
                starting = (error.sqlstate or "57P").startswith("57P")  # or it says nothing yet
                if time.monotonic() >= deadline or not starting:
                    url = self.engine.url.render_as_string(hide_password=True)
                    raise DatabaseUnavailable(
                        f"no answer from {url} within {self.config.start_timeout:g} s ({error}); "
                        "is the server running, and is the URL right?"
                    ) from error
                await asyncio.sleep(0.2)

    async def _check_schema(self) -> None:
        found = await version(self.engine, self.schema)
        if found < CURRENT:
            raise SchemaOutdated(
                f"{described(found, self.schema)}, version {CURRENT} is needed; run `oban-sqla migrate`, "
                "or call oban_sqla.migrations.upgrade(op) from an Alembic revision"
            )


def _checked_engine(engine: object) -> AsyncEngine:
    if isinstance(engine, Engine):
        raise InvalidOption(
            "Oban: the engine is a synchronous one, and the runtime is asynchronous; "
            f"make it with create_async_engine({engine.url.set(drivername='postgresql+asyncpg')!s})"
        )
    if not isinstance(engine, AsyncEngine):
        raise InvalidOption(f"Oban: expected an AsyncEngine, got {engine!r}")
    if engine.dialect.name != "postgresql":
        raise UnsupportedDatabase(f"Oban: jobs need PostgreSQL, this engine speaks to {engine.dialect.name}")
    return engine
