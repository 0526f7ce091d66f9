"""The runtime's public face: one object that is started and stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Never
from weakref import WeakValueDictionary

from sqlalchemy.ext.asyncio import AsyncEngine

from .control.crons import Crons
from .control.emptiness import until_empty
from .control.engines import Engines
from .control.enqueue import enqueue_apart
from .control.jobs import JobVerbs
from .control.lifecycle import Lifecycle
from .control.queues import QueueVerbs
from .control.reading import read_again
from .control.results import ResultVerbs
from .control.signals import SignalVerbs
from .control.streams import StreamVerbs
from .enqueueing.wakeup import Notify
from .errors import refuse_unknown
from .executors.executor import Executor
from .insight.health import Health, health
from .insight.queues import QueueInfo, check, check_all
from .insight.why import Why, explained
from .models import Job, JobSpec
from .models.node import Node
from .options.encryption import Encryption, remember, using
from .options.foreign import OF_NODES, OF_OBAN, answer_foreign
from .options.heartbeat import Heartbeat
from .options.job_logs import JobLogs
from .options.prioritize import Prioritize
from .options.processes import Processes
from .options.prune import Prune
from .options.queue import Queue
from .options.resources import Resource
from .options.sessionmakers import SessionMaker, checked_makers, with_default
from .runtime.config import OPTIONS, Config, checked_engine
from .types import ByAnnotation
from .workers.cron import Cron

DEFAULT_PRUNE = Prune()


class Oban(JobVerbs, QueueVerbs, ResultVerbs, SignalVerbs, StreamVerbs, ByAnnotation):
    """A node: runs the jobs of its queues, on the event loop that starts it.

    ::

        async with Oban(engine, queues={"default": 10, "media": Queue(limit=5)}):
            ...

    :param engine: an ``AsyncEngine`` on PostgreSQL, with asyncpg or psycopg. The node opens its own connections,
        with the engine's settings. A node holds four connections beside the engine's pool, two if it runs no queues,
        one more from the first `oban.enqueue()` or `oban.signal()` on, one more from the first progress, event or log
        line of its jobs on, one more from the first step of a job on, up to four while many jobs take steps at once,
        and one more from the first end of a job in a flow, batch or chain, and the first wait for a signal on. Beside
        other queues, each queue with a global limit, a rate limit or a partition has one more, up to four; further ones
        share them. A leader holds one more, and opens up to two for a moment, to prune and to enqueue cron jobs.
    :param queues: the names of the queues to run, each with a limit (the number of jobs at once) or a :class:`Queue`.
        Default: none. A node without queues can still enqueue, wake other nodes and lead.
    :param sessionmaker: for the sessions of jobs that have a session parameter: an ``async_sessionmaker``, a
        ``sessionmaker``, or a sequence of these, of which a job gets the first that makes what it asks for. Default for
        an ``AsyncSession``: ``async_sessionmaker(engine, expire_on_commit=False)``.
    :param name: the name of the instance. Nodes of the same name share a leader. Default ``"Oban"``.
    :param node: the name of this node. Default: host name and process id, ``"host.1234"``.
    :param notify: how a commit in this process wakes queues: ``"auto"`` (default), ``"transaction"`` or ``"off"``.
    :param shutdown_grace: seconds that running jobs have to finish when the node stops. Default 15.
    :param leader_ttl: seconds that a leader's lease is valid, 0.1 to 3600; it is renewed after a third of that. When a
        leader crashes, another node leads after at most this time. Default 15.
    :param leadership: whether the node may lead. False: the duties of a leader are left to the other nodes, of which at
        least one has to run. Default True.
    :param heartbeat: how often the node writes its heartbeat and when a node counts as dead, a :class:`Heartbeat`.
        Default: ``Heartbeat()``.
    :param lifeline_interval: seconds between two searches of the leader for jobs of dead nodes, 0.1 to 3600. Default 5.
    :param poll_interval: seconds between two polls of the database, 0.01 to 3600; five times as long, but at most 5 s,
        while notifications reach the node. Default 1.
    :param prune: when finished jobs are deleted, a :class:`Prune`. Default: after one day. None: this node deletes
        none.
    :param prioritize: which jobs become more urgent while they wait, a :class:`Prioritize`. Default None: none does.
    :param crontab: a sequence of :class:`Cron` entries, in addition to those of ``@job(cron=…)``. Default: none.
    :param hooks: objects with ``before(job)`` or ``after(job, state, error)``, called around every run on this node;
        see :class:`Hook`. Default: none.
    :param processes: child processes for workers with ``executor="process"``, see :class:`Processes`. Default:
        ``Processes()``; children are started only where such a worker is registered.
    :param executors: where else jobs may run, by the name that ``@job(executor=…)`` gives; see
        :class:`oban_sqla.executors.Executor`. Default: none.
    :param resources: what jobs may ask for by ``= injected()``: by type, a factory (a function without parameters, a
        generator function, a class), or a :class:`Resource`. Types are compared by equality; a ``Protocol``, a
        ``NewType`` or ``Annotated[Redis, "cache"]`` will do. Default: none.
    :param start_timeout: seconds that :meth:`start` waits for a database that does not answer. Default 10.
    :param log_exceptions: whether the log has the exception of a failed attempt, with its traceback. False: only its
        type, for jobs whose exceptions may hold what no log should. Default True.
    :param encryption: the keys of workers with ``@job(encrypted=True)``, an :class:`Encryption`. Default: those that
        :func:`configure_encryption` was given.
    :param job_logs: what jobs log is kept with them, see :class:`JobLogs`. Default: it is not.
    :param metrics: whether this node records for the dashboard's charts what ends in each queue and minute. Default
        False.
    :raises InvalidOption: if a value is out of range, an option is misspelt, or the engine is not an ``AsyncEngine``.
    :raises UnsupportedDatabase: if the engine's database is not PostgreSQL.

    It installs no signal handlers, does not configure logging, and never changes the schema.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        queues: Mapping[str, int | Queue] | None = None,
        *,
        sessionmaker: SessionMaker | Sequence[SessionMaker] | None = None,
        name: str = "Oban",
        node: str | None = None,
        notify: Notify = "auto",
        shutdown_grace: float = 15.0,
        leader_ttl: float = 15.0,
        leadership: bool = True,
        heartbeat: Heartbeat | None = None,
        lifeline_interval: float = 5.0,
        poll_interval: float = 1.0,
        prune: Prune | None = DEFAULT_PRUNE,
        prioritize: Prioritize | None = None,
        crontab: Sequence[Cron] = (),
        hooks: Sequence[object] = (),
        start_timeout: float = 10.0,
        log_exceptions: bool = True,
        metrics: bool = False,
        processes: Processes | None = None,
        executors: Mapping[str, Executor] | None = None,
        resources: Mapping[Any, Callable[[], Any] | Resource] | None = None,
        encryption: Encryption | None = None,
        job_logs: JobLogs | None = None,
        **unknown: Never,
    ) -> None:
        refuse_unknown(unknown, OPTIONS, "Oban")
        self.engine = checked_engine(engine)
        self.config = Config.checked(
            queues=queues,
            sessionmaker=with_default(checked_makers(sessionmaker), self.engine),
            name=name,
            node=node,
            notify=notify,
            shutdown_grace=shutdown_grace,
            leader_ttl=leader_ttl,
            leadership=leadership,
            heartbeat=Heartbeat() if heartbeat is None else heartbeat,
            lifeline_interval=lifeline_interval,
            poll_interval=poll_interval,
            prune=prune,
            prioritize=prioritize,
            crontab=crontab,
            hooks=hooks,
            start_timeout=start_timeout,
            log_exceptions=log_exceptions,
            metrics=metrics,
            processes=Processes() if processes is None else processes,
            executors={} if executors is None else executors,
            resources=resources,
            encryption=encryption,
            job_logs=job_logs,
        )
        remember(encryption)
        self._engines = Engines(self.engine, lambda: self._node, encryption)
        self.crons = Crons(self.engine, self._engines)
        """The crontab of the cluster: a :class:`Crons`, to read and edit it."""
        self._limiters = WeakValueDictionary()
        self._life = Lifecycle(self.engine, self.config, self)

    @property
    def is_leader(self) -> bool:
        """Whether this node leads its instance now. The leader stages, rescues, prunes and schedules for all nodes."""
        return self._node is not None and self._node.leadership.leads

    @property
    def loops(self) -> dict[str, bool]:
        """The background loops by name, and whether each is alive. Empty while the node does not run. Sends no SQL."""
        return {} if self._node is None else {loop.name: loop.is_alive for loop in self._node.loops}

    async def __aenter__(self) -> Oban:
        await self.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Connect, check the version of the tables, and start to run jobs.

        :raises DatabaseUnavailable: if the database does not answer within ``start_timeout``, or refuses the connection
            or a statement of the start.
        :raises SchemaOutdated: if the tables are missing or older than this package needs. Nothing is created.
        :raises InvalidOption: if a worker of its queues asks for a session, or a resource, that nothing provides. What
            a factory raises is raised, too.
        :raises ObanError: if this node is running or starting already, or if :meth:`stop` ends the start.
        """
        await self._life.start()

    async def stop(self) -> list[int]:
        """Stop fetching, wait up to ``shutdown_grace`` for running jobs, cancel the remaining ones, and disconnect.

        A job that did not finish becomes ``available`` at once, and its attempt does not count. It ends a start that is
        under way. A stop that has begun goes on when its caller is cancelled, and a second call waits for the same end.
        A job that calls it gets its answer at once, because the stop waits for the job. It may be called from another
        event loop, such as that of a thread, while the one of the node runs.

        :returns: the ids of jobs that could not be stopped because they run in threads, or whose outcome could not be
            written. They stay ``executing`` and keep their heartbeat. If the thread finishes, or the outcome is
            written, that counts; if the process exits first, they are rescued.
        :raises ObanError: from another event loop, while the one of the node does not run.
        """
        return await self._life.stop()

    async def until_empty(self) -> None:
        """Wait until this node has nothing to do: for scripts, and programs that a timer starts.

        ::

            async with Oban(engine, queues={"default": 10}) as oban:
                await oban.until_empty()

        Nothing to do means that its queues have no job that is due, and that this node runs none. Jobs that are
        scheduled for later, retries that are not due, queues that are paused, and jobs that another node runs are not
        waited for. These are: jobs that a limit holds up, jobs of a dead node, which are rescued first, cron jobs that
        were missed, and a database that is away. Nothing limits the wait: use ``asyncio.timeout``.

        :raises ObanError: when the node is not started, or is stopped meanwhile, and in a job.
        """
        await until_empty(self._engines, lambda: self._node)

    async def abandon(self) -> int:
        """Make the jobs that :meth:`stop` could not stop available again. Call it only when the process exits next.

        While their threads still run, another node may run the same jobs a second time.

        :returns: the number of jobs that are available again.
        :raises DatabaseUnavailable: when the database can't be reached, or does not answer; nothing was changed.
        """
        return await self._life.abandon(self._engines)

    async def enqueue(self, specs: JobSpec | Iterable[JobSpec], *more: JobSpec) -> list[JobSpec]:
        """Enqueue jobs in a separate transaction: ``await oban.enqueue(spec)``.

        On a started node a few plain jobs take one round trip, and share the commit with other jobs that are enqueued
        at the same time. To enqueue in the transaction of your session, use ``session.add`` or
        :func:`oban_sqla.enqueue`.

        :param specs: a spec, or any iterable of specs; an iterator is consumed in chunks of 5,000.
        :param more: further specs.
        :returns: the specs in the given order, with ``id``, ``state`` and ``conflict`` filled in.
        :raises InvalidOption: for an object that is not a :class:`JobSpec`.
        :raises DatabaseUnavailable: when the node's connection was lost on the way, and whether the jobs were written
            is not known; or when the database can't be reached, and they were not. The message says which.
        """
        with using(self.config.encryption):
            return await enqueue_apart(self._engines, self._node, specs, more)

    async def why(self, target: JobSpec | Job | Node[Any] | int) -> Why:
        """Explain why a job is not running, or what it is doing: ``(await oban.why(42)).reason.text``.

        Runs a few indexed statements on a connection of the engine's pool, and changes nothing. The node need not be
        started.

        :param target: an id, a :class:`Job`, a flushed spec, or a node of a flushed workflow.
        :returns: the job's state and the reasons, the decisive one first, each with the next step to take.
        :raises InvalidOption: for a target of another type.
        :raises DatabaseUnavailable: when the database has not answered for 15 seconds.
        """
        async with self._engines.here() as engine:
            return await read_again(engine, lambda plain: explained(plain, self.config, target), "why")

    def check_queue(self, queue: str) -> QueueInfo | None:
        """The state of a queue on this node, from memory.

        :param queue: the name of the queue.
        :returns: its limit, running jobs and so on; None if it does not run here.
        :raises InvalidOption: for a queue that this node does not know.
        """
        return check(self._node, queue, set(self.config.queues))

    def check_queues(self) -> list[QueueInfo]:
        """The state of every queue that runs on this node, from memory."""
        return check_all(self._node)

    async def health(self) -> Health:
        """The state of this node, for a health check: ``.ok`` and the details. Takes at most three seconds."""
        async with self._engines.here() as engine:
            return await health(engine, self.config, self._node, self._life.places)


answer_foreign(Oban, OF_NODES, OF_OBAN)
