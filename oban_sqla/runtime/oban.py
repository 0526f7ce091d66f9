"""The runtime's public face: one object that is started and stopped."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any, Never
from uuid import uuid4

from sqlalchemy import Engine, Pool
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import sessionmaker

from ..enqueue import enqueue
from ..errors import DatabaseUnavailable, InvalidOption, ObanError, SchemaOutdated, UnsupportedDatabase, refuse_unknown
from ..limits import Queue, as_queue
from ..migrations import CURRENT, version
from ..models import JobSpec
from ..models.job import jobs
from ..outcomes import seconds
from ..statements.ack import acknowledge
from ..telemetry import logger
from ..wakeup import INSERTED, STAGED, Identity, Notify, channel, identify, serve, unserve
from .acks import Ack, Acks, parameters
from .attempt import Attempt
from .executors.thread import Threads
from .lanes import Lane, StatementFailed, twin
from .liveness import Heartbeat, Liveness
from .loop import Loop
from .notifier import Notifier
from .producer import Producer
from .row import Row
from .sessions import SessionMaker, Sessions
from .stager import Stager
from .wakeup import Announcer

OPTIONS = (
    "queues", "sessionmaker", "name", "node", "notify", "shutdown_grace", "heartbeat", "poll_interval", "start_timeout",
)  # fmt: skip

LAST_ACKS = 5.0
"""Seconds that stopping waits for the database to take the last acks."""


class Oban:
    """Works the queues of one database, on the event loop that starts it.

    ::

        async with Oban(engine, queues={"default": 10, "media": Queue(limit=5)}):
            ...

    :param engine: an ``AsyncEngine`` on PostgreSQL (asyncpg or psycopg). The runtime holds four connections of its own
        beside the engine's pool.
    :param queues: names, each with a limit or a :class:`Queue`. Default: none; such a runtime enqueues and wakes others.
    :param sessionmaker: makes the sessions of jobs that ask for one.
    :param name: of the instance; several in one database do not share leaders. Default ``"Oban"``.
    :param node: of this process. Default: the host's name and the process id.
    :param notify: how commits of this process wake queues: ``"auto"`` (default), ``"transaction"`` or ``"off"``.
    :param shutdown_grace: seconds that running jobs may take to end when the runtime stops. Default 15.
    :param heartbeat: see :class:`Heartbeat`.
    :param poll_interval: seconds, the longest time between two looks at the database. Default 1.
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
        heartbeat: Heartbeat | None = None,
        poll_interval: float = 1.0,
        start_timeout: float = 10.0,
        **unknown: Never,
    ) -> None:
        refuse_unknown(unknown, OPTIONS, "Oban")
        self.engine = _checked_engine(engine)
        self.queues = {queue: as_queue(queue, given) for queue, given in (queues or {}).items()}
        self.name = _checked_name("name", name)
        self.node = _checked_name("node", f"{socket.gethostname()}.{os.getpid()}" if node is None else node)
        if notify not in ("auto", "transaction", "off"):
            raise InvalidOption(f'Oban: notify must be "auto", "transaction" or "off", got {notify!r}')
        self.notify: Notify = notify
        self.shutdown_grace = seconds(shutdown_grace, "Oban(shutdown_grace)")
        self.start_timeout = seconds(start_timeout, "Oban(start_timeout)")
        self.poll_interval = seconds(poll_interval, "Oban(poll_interval)")
        if not 0.01 <= self.poll_interval <= 3600:
            raise InvalidOption(f"Oban: poll_interval is 0.01 to 3600 seconds, got {poll_interval!r}")
        if heartbeat is not None and not isinstance(heartbeat, Heartbeat):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption(f"Oban: heartbeat=Heartbeat(…) expected, got {heartbeat!r}")
        self.heartbeat = heartbeat or Heartbeat()
        self._sessionmaker = _checked_sessionmaker(sessionmaker)
        self._parts: _Parts | None = None
        self._left: list[Ack] = []
        self.identity: Identity = ("", "")

    @property
    def pool(self) -> Pool:
        """The engine's pool; commits on its connections wake this runtime."""
        return self.engine.sync_engine.pool

    @property
    def schema(self) -> str | None:
        """Where the tables live."""
        schemas = self.engine.sync_engine.get_execution_options().get("schema_translate_map") or {}
        return schemas.get(jobs.schema, jobs.schema)

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
        if self._parts is not None:
            raise ObanError("this Oban is running already; stop it first, or make another one")
        parts = _Parts(self)
        try:
            self.identity = await self._reach(parts.upkeep)
            await self._check_schema()
            await parts.start()
        except BaseException:
            await parts.close()
            raise
        self._parts = parts
        if self.notify != "off" or self.queues:
            serve(self)
        logger.info("%s started on %s with queues %s", self.name, self.node, ", ".join(self.queues) or "(none)")

    async def stop(self) -> list[int]:
        """Fetch no more, let running jobs end within ``shutdown_grace``, cancel the others, and disconnect.

        What did not finish is available again at once, with its attempt given back.

        :returns: the ids of jobs that could not be stopped: a thread can't be. They stay executing until their process
            ends, and are rescued then.
        """
        parts, self._parts = self._parts, None
        if parts is None:
            return []
        unserve(self)
        self._left = await parts.stop(self.shutdown_grace)
        logger.info("%s stopped on %s", self.name, self.node)
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

        :returns: the specs, each with id, state and conflict.
        """
        async with AsyncSession(self.engine) as session, session.begin():
            return await enqueue(session, specs, *more)

    def inserted(self, queues: Iterable[str]) -> None:
        """Jobs of `queues` were committed. May be called from any thread; does nothing when it isn't running."""
        if (parts := self._parts) is not None:
            parts.call(parts.inserted, set(queues))

    def soon(self) -> None:
        """A job will be due within seconds. May be called from any thread."""
        if (parts := self._parts) is not None:
            parts.call(parts.soon)

    async def _reach(self, lane: Lane) -> Identity:
        deadline = time.monotonic() + self.start_timeout
        while True:
            try:
                rows = await lane.run(identify)
                return (rows[0][0], rows[0][1])
            except StatementFailed as error:
                if time.monotonic() >= deadline or error.sqlstate is not None:
                    url = self.engine.url.render_as_string(hide_password=True)
                    raise DatabaseUnavailable(
                        f"no answer from {url} within {self.start_timeout:g} s ({error}); "
                        "is the server running, and is the URL right?"
                    ) from error
                await asyncio.sleep(0.2)

    async def _check_schema(self) -> None:
        found = await version(self.engine, self.schema)
        if found < CURRENT:
            where = "" if self.schema is None else f" in the schema {self.schema!r}"
            state = "there are no tables of the queue" if found == 0 else f"the tables are of version {found}"
            raise SchemaOutdated(
                f"{state}{where}, version {CURRENT} is needed; run `oban-sqla migrate`, "
                "or call oban_sqla.migrations.upgrade(op) from an Alembic revision"
            )


class _Parts:
    """What a started runtime consists of."""

    def __init__(self, oban: Oban) -> None:
        self.loop = asyncio.get_running_loop()
        self.thread = threading.get_ident()
        self.origin = uuid4().hex[:12]
        engine = self.engine = twin(oban.engine)
        # Fetching and acknowledging overlap, which is worth half as much again; what is slow at times has its own lane.
        self.fetching, self.acking, self.upkeep = (Lane(engine, name) for name in ("fetching", "acking", "upkeep"))
        self.threads = Threads(f"oban-{oban.name}")
        self.sessions = Sessions(oban._sessionmaker)  # pyright: ignore[reportPrivateUsage]
        self.acks = Acks(self.acking, self._settled)
        self.producers = {
            name: Producer(name, queue, oban.node, self.fetching, self.acks, self._attempt)
            for name, queue in oban.queues.items()
        }
        self._by_key = {producer.key: producer for producer in self.producers.values()}
        self.channels = {channel(name, oban.schema): name for name in (INSERTED, STAGED)}
        self.notifier = Notifier(engine, list(self.channels), self._heard, self._connected)
        self.announcer = Announcer(self.upkeep, oban.schema, self.origin)
        self.stager = Stager(self.upkeep, lambda: self.producers, self._notice, oban.poll_interval)
        self.liveness = Liveness(
            self.notifier.lane, oban.name, oban.node, lambda: list(self.producers.values()), oban.heartbeat
        )

    async def start(self) -> None:
        await self.notifier.lane.connect()
        await self.liveness.step()  # the row stands before the first job is fetched
        for loop in (self.acks, self.notifier, self.announcer, self.stager, self.liveness, *self.producers.values()):
            loop.start()

    async def stop(self, grace: float) -> list[Ack]:
        producers = list(self.producers.values())
        await _all(producer.stop_fetching() for producer in producers)
        left: list[Attempt] = []
        for rest in await asyncio.gather(*(producer.finish(grace) for producer in producers)):
            left += rest
        deadline = time.monotonic() + LAST_ACKS
        while len(self.acks) and time.monotonic() < deadline:
            self.acks.wake()
            await asyncio.sleep(0.01)
        loops: tuple[Loop, ...] = (self.stager, self.announcer, self.liveness, self.notifier, self.acks)
        await _all(loop.stop() for loop in loops)
        try:
            await self.liveness.retire([producer for producer in producers if not producer.running])
        except StatementFailed as error:
            logger.warning("the rows of the stopped producers stay until they are stale: %s", error)
        await self.close()
        for attempt in left:
            logger.error("job %d (%s) did not stop", attempt.row.id, attempt.row.worker)
        return [attempt.ack("available", burned=False) for attempt in left]

    async def close(self) -> None:
        self.threads.close()
        await _all(lane.close() for lane in (self.fetching, self.acking, self.upkeep, self.notifier.lane))
        await self.engine.dispose()

    def call(self, fn: Any, *args: Any) -> None:
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
        self.stager.wake()
        self.announcer.soon()

    def _notice(self, queue: str) -> None:
        if (producer := self.producers.get(queue)) is not None:
            producer.notice()

    def _heard(self, name: str, payload: dict[str, Any]) -> None:
        if payload.get("from") == self.origin:
            return
        if self.channels.get(name) == STAGED:
            self.stager.wake()
        else:
            self._notice(str(payload.get("queue")))

    def _connected(self) -> None:
        for producer in self.producers.values():
            producer.notice()

    def _settled(self, ack: Ack) -> None:
        if (producer := self._by_key.get(ack.producer)) is not None:
            producer.settled(ack)

    def _attempt(self, row: Row, producer: str) -> Attempt:
        return Attempt(row, producer, self.threads, self.sessions)


async def _all(work: Iterable[Any]) -> None:
    for result in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(result, BaseException):
            logger.warning("while stopping: %s: %s", type(result).__name__, result)


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


def _checked_sessionmaker(maker: Any) -> SessionMaker | None:
    if maker is not None and not isinstance(maker, async_sessionmaker | sessionmaker):
        raise InvalidOption(f"Oban: sessionmaker= takes an async_sessionmaker or a sessionmaker, got {maker!r}")
    return maker


def _checked_name(what: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InvalidOption(f"Oban: {what} is a name, got {value!r}")
    return value
