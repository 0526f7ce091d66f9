"""The places outside a node in which its workers may run: its children, and the executors that the user gave."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..runtime.config import Config
from ..runtime.durable.steps import Steps
from ..runtime.executors.executor import Remote
from ..runtime.group_of import Load
from ..statements.identify import Identity
from ..telemetry import node_logger as logger
from ..telemetry.log_error import log_error
from ..workers.registry import workers
from . import wire
from .asking import answer_to
from .child import Child, supervise
from .errand import module_of
from .factories import factory_names
from .pool import Pool, usable_processors
from .remote import Given, InChildren, Outside, Settled, relay
from .setup import PROCESS, process_workers, refuse_unimportable, sessionmaker_names, setup


class Places:
    """The remotes of one runtime.

    :param config: the runtime's options.
    :param schema: where the tables live.
    :param woke: called with the queues for which a child has committed jobs, and whether one is due soon.
    :param settled: whether the job of a row no longer belongs to its run.
    :param steps: where the steps of jobs are kept.
    :param groups: load the batch or the workflow of a job.
    """

    def __init__(
        self,
        config: Config,
        schema: str | None,
        *,
        woke: Callable[[Sequence[str], bool], None],
        settled: Settled,
        steps: Steps,
        groups: Mapping[Any, Load],
    ) -> None:
        self._config = config
        self._schema = schema
        self._woke = woke
        self._steps = steps
        self._answers: set[asyncio.Task[None]] = set()
        """Answers to questions of children, under way."""
        self._identity: Identity = ("", "")
        """Of the database. Written by `start`."""
        options = config.processes
        limits = sum(queue.limit for queue in config.queues.values())
        size = min(usable_processors(), max(limits, 1)) if options.size is None else options.size
        self._pool = Pool(setup=self._setup, options=options, size=size, heard=self._heard)
        given: Given = {
            "max_crashes": options.max_crashes,
            "settled": settled,
            "resources": config.resources,
            "groups": groups,
        }
        self.remotes: dict[str, Remote] = {PROCESS: InChildren(self._pool, **given)}
        """The remotes, by the name with which workers ask for them."""
        for name, executor in config.executors.items():
            self.remotes[name] = Outside(executor, **given, job_logs=config.job_logs)
        self._started: list[str] = []
        """The names of the user's executors that were started. Written by `start` and `stop`."""

    @property
    def pids(self) -> list[int]:
        """The process ids of the children."""
        return self._pool.pids

    @property
    def is_well(self) -> bool:
        """Whether the children can be started."""
        return self._pool.is_well

    async def start(self, identity: Identity) -> None:
        """Start the executors, and one child where a worker needs it.

        :param identity: of the database.
        :raises InvalidOption: for a worker that no child can import; in the child's own words if the child tried.
        """
        self._identity = identity
        for worker in workers.distinct():
            if worker.executor in self.remotes and worker.queue in self._config.queues:
                factory_names(worker, self._config.resources)
        for name, executor in self._config.executors.items():
            modules = {module_of(worker) for worker in workers.distinct() if worker.executor == name}
            await executor.start(sorted(modules))
            self._started.append(name)
        if process_workers(self._config.queues):
            await self._pool.start()

    async def stop(self) -> None:
        """End the children, and stop the executors that were started. What an executor raises is logged."""
        await self._pool.stop()
        while self._started:
            name = self._started.pop()
            try:
                await self._config.executors[name].stop()
            except Exception as error:
                log_error(logger, error, "the executor %r could not be stopped", name)

    def _setup(self) -> dict[str, Any]:
        known = process_workers(self._config.queues)
        refuse_unimportable(known)  # before the sessionmakers, which can't be found for such a worker either
        options = self._config.processes
        sessions = sessionmaker_names(self._config.sessionmaker, options.sessionmaker, known)
        tells_memory = options.max_memory is not None
        return setup(known, sessions, self._identity, self._schema, self._config.job_logs, tells_memory)

    def _heard(self, child: Child, kind: int, fields: dict[str, Any]) -> None:
        if kind == wire.ASK:
            supervise(answer_to(child, fields, self._steps), self._answers)
        else:
            relay(child, kind, fields, woke=self._woke)
