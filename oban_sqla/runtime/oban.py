"""The runtime's public face: one object that is started and stopped."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Never

from sqlalchemy import Engine, Pool
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import sessionmaker

from ..config import OPTIONS, Config, Heartbeat, Notify
from ..cron import Cron
from ..crons import Crons
from ..enqueue import enqueue
from ..errors import DatabaseUnavailable, InvalidOption, ObanError, SchemaOutdated, UnsupportedDatabase, refuse_unknown
from ..limits import Queue
from ..migrations import CURRENT, version
from ..models import JobSpec
from ..models.job import jobs
from ..retention import Prune
from ..statements.ack import acknowledge
from ..telemetry import logger
from ..wakeup import Identity, serve, unserve
from .acks import Ack, parameters
from .inserts import are_plain
from .lanes import StatementFailed
from .node import Node

DEFAULT_PRUNE = Prune()


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
    :param leader_ttl: seconds that the lease of a leader lasts; renewed at a third. When a leader dies without a word,
        another one leads this much later. Default 15.
    :param heartbeat: see :class:`Heartbeat`.
    :param lifeline_interval: seconds between two looks of the leader for jobs of dead nodes. Default 5.
    :param poll_interval: seconds, the longest time between two looks at the database. Default 1.
    :param prune: when finished jobs are deleted, see :class:`Prune`. Default: after a day. None: never, by this node.
    :param crontab: entries that become due again and again, see :class:`Cron`, beside those of ``@job(cron=…)``.
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
            start_timeout=start_timeout,
        )
        self.crons = Crons(self.engine)
        """The crontab of the cluster, to be read and edited."""
        self.identity: Identity = ("", "")
        self._node: Node | None = None
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

        :returns: the ids of jobs that could not be stopped: a thread can't be. They stay executing until their process
            ends, and are rescued then.
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
                if time.monotonic() >= deadline or error.sqlstate is not None:
                    url = self.engine.url.render_as_string(hide_password=True)
                    raise DatabaseUnavailable(
                        f"no answer from {url} within {self.config.start_timeout:g} s ({error}); "
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
