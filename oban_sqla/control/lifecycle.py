"""Starting and stopping a runtime, as one state machine.

A stop ends a start that is under way. A stop runs in a separate task to its end, also when its caller is cancelled; a
second caller waits for the same end. A job may ask for it too: it does not wait, because the stop waits for the job.
"""

from __future__ import annotations

import asyncio
import os
import time
import weakref

from sqlalchemy.ext.asyncio import AsyncEngine

from ..enqueueing.wakeup import unserve
from ..errors import DatabaseUnavailable, ObanError, SchemaOutdated
from ..executors.places import Places
from ..migrations import CURRENT, described
from ..models.relationship import related_paths
from ..options.encryption import using
from ..runtime.acks import Ack, parameters
from ..runtime.asked import miss_keys, refuse_partitions, refuse_unmade_sessions, refuse_unprovided
from ..runtime.config import Config
from ..runtime.group_of import loaders
from ..runtime.lanes.failure import StatementFailed
from ..runtime.node import Node
from ..runtime.resources import Resources
from ..statements.ack import acknowledge
from ..telemetry import node_logger as logger
from ..workers import context
from .engines import Engines
from .introduction import introduce
from .pools import introduce_pools
from .refusals import READ_ONLY, answer, refusal_of_start

SAID_AFTER = 2.0
"""Seconds after which a start says that it waits for the database."""

_lives: weakref.WeakSet[Lifecycle] = weakref.WeakSet()
_of_parent: list[object] = []


class Lifecycle:
    """The node of one :class:`Oban`, while there is one.

    :param engine: the user's.
    :param config: the runtime's options.
    :param runtime: given to the jobs that ask for it.
    :param introduces: whether the log has what runs, and what does not fit together. Default True.
    """

    def __init__(self, engine: AsyncEngine, config: Config, runtime: object = None, *, introduces: bool = True) -> None:
        self.node: Node | None = None
        """The node that runs. Set by `_start`; None again by `_stop_soon`, `_elsewhere` and `forget`."""
        self.places: Places | None = None
        """Its children and other executors. Set by `_start`; None again by `_stop`, `_elsewhere` and `forget`."""
        self.left: list[Ack] = []
        """What gives those jobs back that could not be stopped. Written by `_begin` and `_stop`, taken by `abandon`."""
        # Given, and never written again.
        self._engine = engine
        self._config = config
        self._runtime = runtime
        self._introduces = introduces
        # What is under way: made by start() and stop(), forgotten in a forked child.
        self._starting: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[list[int]] | None = None
        # The event loop of what is above: written by start().
        self._loop: asyncio.AbstractEventLoop | None = None
        _lives.add(self)

    async def start(self) -> None:
        """See :meth:`Oban.start`."""
        if context.in_child:
            raise ObanError(
                "this is a child process of a node, which imports the program's modules: put the start of the program "
                'under if __name__ == "__main__":'
            )
        if (elsewhere := self._elsewhere()) is not None:
            raise ObanError(f"this Oban is running already, on another event loop ({elsewhere}); stop it first")
        if self._stopping is not None:
            await asyncio.shield(self._stopping)
        if self.node is not None or self._starting is not None:
            raise ObanError("this Oban is running already; stop it first, or make another one")
        self._loop = asyncio.get_running_loop()
        self._starting = asyncio.create_task(self._start(), name="oban_sqla start")
        try:
            await _joined(self._starting)
        except asyncio.CancelledError:
            await self._undo()
            raise
        finally:
            self._starting = None

    async def _undo(self) -> None:
        """The caller of a start has left in the last moment of it: end the node that runs already."""
        if self._stopping is None and self.node is not None:
            self._stop_soon(self.node, 0.0)
        if self._stopping is not None:
            await asyncio.shield(self._stopping)

    async def stop(self) -> list[int]:
        """See :meth:`Oban.stop`."""
        if (elsewhere := self._elsewhere()) is not None:
            if not elsewhere.is_running():
                raise ObanError(
                    f"stop: this Oban runs on another event loop ({elsewhere}), which stands still; stop it there"
                )
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self.stop(), elsewhere))
        if self._starting is not None:
            await _ended(self._starting)
        if self._stopping is None:
            if self.node is None:
                return [ack.id for ack in self.left]  # of a start that has failed
            node = self.node
            stopping = self._stop_soon(node, self._config.shutdown_grace)
            if _asked_by_job_of(node):
                return []
        else:
            stopping = self._stopping
        return list(await asyncio.shield(stopping))

    async def abandon(self, engines: Engines) -> int:
        """See :meth:`Oban.abandon`."""
        left = self.left
        if not left:
            return 0
        async with engines.transaction() as session:
            connection = await session.connection()
            given = await connection.run_sync(lambda c: acknowledge.execute(c, **parameters(acknowledge, left)).all())
        self.left = [ack for ack in self.left if ack not in left]  # not before: a call that fails can be repeated
        return len(given)

    def forget(self) -> None:
        """In a forked child: the node runs in the parent, and there is none here."""
        # Kept, because its tasks would complain if they were collected.
        _of_parent.append((self.node, self.places, self._starting, self._stopping))
        self.node = self.places = self._starting = self._stopping = None
        self.left = []

    def _elsewhere(self) -> asyncio.AbstractEventLoop | None:
        """The event loop on which it runs, where that is another one. A node whose loop was closed is forgotten."""
        if self._loop is asyncio.get_running_loop() or not (self.node or self._starting or self._stopping):
            return None
        if self._loop is None or not self._loop.is_closed():
            return self._loop
        if self.node is not None:
            unserve(self.node)
            self.node.threads.close()
            logger.warning(
                "%s on %s: its event loop was closed before Oban.stop(); what ran is rescued by another node",
                self._config.name, self._config.node,
            )  # fmt: skip
        self.node = self.places = self._starting = self._stopping = None
        return None

    def _stop_soon(self, node: Node, grace: float) -> asyncio.Task[list[int]]:
        self.node = None
        self._stopping = asyncio.create_task(self._stop(node, grace), name="oban_sqla stop")
        self._stopping.add_done_callback(self._stopped)
        return self._stopping

    def _stopped(self, task: asyncio.Task[list[int]]) -> None:
        self._stopping = None
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("stopping %s failed", self._config.name, exc_info=error)

    async def _start(self) -> None:
        # Whatever the node starts has the keys by its context.
        with using(self._config.encryption):
            await self._begin()

    async def _begin(self) -> None:
        config = self._config
        refuse_unmade_sessions(config.queues, config.sessionmaker)
        groups = loaders(self._engine)
        provides = Resources(config.resources, self._runtime, groups).provides
        asked = refuse_unprovided(config.queues, config.resources, provides)
        refuse_partitions(config.queues)
        miss_keys(config.queues)
        node = Node(engine=self._engine, config=config, runtime=self._runtime)
        places = Places(config, node.schema, woke=node.woke, settled=node.settled, steps=node.steps, groups=groups)
        node.host.remotes = places.remotes
        try:
            await self._reach(node)
            await _check_schema(node)
            await places.start(node.identity)
            await node.resources.prepare(asked)
            await node.start()
        except BaseException as error:
            await places.stop()
            if node.is_started:
                self.left = await node.stop(0.0)  # its queues may have begun already
            else:
                await node.close()
            if isinstance(error, StatementFailed):
                raise refusal_of_start(error, self._engine.url) from error
            raise
        self.node, self.places = node, places
        runs = node.control.wanted()
        if self._introduces:
            introduce(config, runs)
            introduce_pools(runs, config.sessionmaker)
        await _notice_copy(node)
        await self._miss_indexes(node)

    async def _miss_indexes(self, node: Node) -> None:
        """Name the relationships of the program whose index is missing; nothing depends on it."""
        paths = {f"{path.name}_index": path for path in related_paths()}
        if not paths:
            return
        try:
            there = await node.connections.indexes([*paths])
        except StatementFailed:
            return
        for name in sorted(paths.keys() - there):
            logger.warning(
                "job_relationship(%r) has no index, so it reads the whole table of jobs; add to a revision of Alembic: "
                "migrations.index_jobs(op, %r, concurrently=True)", paths[name].text, paths[name].text,
            )  # fmt: skip

    async def _stop(self, node: Node, grace: float) -> list[int]:
        self.left = await node.stop(grace)
        places, self.places = self.places, None
        if places is not None:
            await places.stop()
        logger.info("%s stopped on %s", self._config.name, self._config.node)
        return [ack.id for ack in self.left]

    async def _reach(self, node: Node) -> None:
        began = time.monotonic()
        deadline = began + self._config.start_timeout
        is_told = False
        while True:
            try:
                return await node.reach()
            except StatementFailed as error:
                if error.sqlstate == READ_ONLY:
                    raise
                said, starting = answer(error)
                url = self._engine.url.render_as_string(hide_password=True)
                if not starting:
                    raise DatabaseUnavailable(f"can't connect to {url}: the database says: {said}") from error
                if time.monotonic() >= deadline:
                    within = f"within {self._config.start_timeout:g} s"
                    raise DatabaseUnavailable(
                        f"can't connect to {url} {within}: the database says: {said}"
                        if said
                        else f"no answer from {url} {within} ({error}); is the server running, and is the URL right?"
                    ) from error
                if not is_told and time.monotonic() >= began + SAID_AFTER:
                    is_told = True
                    text = "no answer yet from %s (%s); trying for up to %g s"
                    logger.warning(text, url, error, self._config.start_timeout)
                await asyncio.sleep(0.2)


async def _check_schema(node: Node) -> None:
    found = await node.connections.version()
    others = await node.connections.schemas() if found == 0 else []
    if set(others) - {node.schema}:
        raise SchemaOutdated(
            f"{described(found, node.schema, others)}; call oban_sqla.use_schema(…) with its name before the models "
            "are used, or, if they were created without its name, have it in the search path; or create tables here "
            "with `oban-sqla migrate`"
        )
    if found < CURRENT:
        raise SchemaOutdated(
            f"{described(found, node.schema)}, and version {CURRENT} is needed; run `oban-sqla migrate`, "
            "or call oban_sqla.migrations.upgrade(op) from an Alembic revision"
        )


async def _notice_copy(node: Node) -> None:
    """Say that the jobs are those of another database, where that is so."""
    try:
        names = await node.connections.subscriptions()
    except StatementFailed:
        return
    if names:
        logger.warning(
            "the jobs table is a copy that the subscription %s writes: this node runs jobs that the nodes of the "
            "publisher run, too; connect it to the publisher, or disable the subscription", ", ".join(names),
        )  # fmt: skip


async def _joined(task: asyncio.Task[None]) -> None:
    """Wait for `task`; a caller that is cancelled ends it, and leaves when it has ended."""
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.done():
            await _ended(task)
            raise
        if task.cancelled():
            raise ObanError("the start was ended by stop()") from None
        raise


async def _ended(task: asyncio.Task[None]) -> None:
    """End `task`, which is cancelled once: a second time would interrupt what it cleans up."""
    if not task.cancelling():
        task.cancel()
    await asyncio.wait([task])


def _asked_by_job_of(node: Node) -> bool:
    """Whether this code runs in a job of `node`, or in a hook around one, for which the stop would wait."""
    running, task = context.running.get(None), asyncio.current_task()
    return any(
        attempt is running or attempt.task is task
        for producer in node.producers.values()
        for attempt in producer.running.values()
    )


def _forget_all() -> None:
    for life in list(_lives):
        life.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
