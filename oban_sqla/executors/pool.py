"""The children of a node: how many there are, which calls wait for one, and when one is replaced."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import ChildDied, ObanError
from ..options.processes import Processes
from ..runtime.verdict import Stop
from ..telemetry import node_logger as logger
from .child import Child, Heard, supervise

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0


class Pool:
    """Children that run one call at a time. They are started when jobs come, and replaced when they die.

    :param setup: makes what a new child is told first; it includes all workers that are registered by then.
    :param options: when a child is replaced, and how long its start may take.
    :param size: most children.
    :param heard: called with a child and what it reports while it works.
    """

    def __init__(
        self,
        *,
        setup: Callable[[], Mapping[str, Any]],
        options: Processes,
        size: int,
        heard: Callable[[Child, int, dict[str, Any]], None],
    ) -> None:
        self.size = size
        self._setup = setup
        self._options = options
        self._heard = heard
        self._idle: list[Child] = []
        """Children that wait for a call. Written by `_offer`, `take` and `_watch`."""
        self._all: set[Child] = set()
        """Every child that runs or starts. `_new` adds to it; a child that dies, is replaced or can't start leaves."""
        self._leaving: set[Child] = set()
        """Children that were replaced and have not ended yet. Written by `_replace`."""
        self._waiting: deque[asyncio.Future[Child]] = deque()
        """Calls that wait for a child, the oldest first. Written by `take`, emptied by `_offer`."""
        self._deaths = 0
        """Children that have died since the last call ended. Written by `give_back`, `_start_one` and `_watch`."""
        self._tasks: set[asyncio.Task[None]] = set()
        """The starts, watches and replacements under way."""
        self._stopping = False
        """Set by `stop`."""

    @property
    def pids(self) -> list[int]:
        """The process ids of the children that have one."""
        return sorted(child.pid for child in self._all if child.pid)

    @property
    def is_well(self) -> bool:
        """Whether children can live here: fewer than three have died in a row, or one is ready."""
        return self._deaths < 3 or any(child.is_ready for child in self._all)

    async def start(self) -> None:
        """Start the first child.

        :raises ObanError: when the child can't import the workers, in the child's own words.
        """
        child = self._new()
        try:
            await child.start(self._options.start_timeout)
        except BaseException:
            self._all.discard(child)
            raise
        self._admit(child)

    async def take(self) -> Child:
        """Wait for a free child. The caller gives it back with `give_back`.

        :raises asyncio.CancelledError: when the pool stops.
        """
        while self._idle:
            child = self._idle.pop()
            if child.is_alive:
                return child
        if len(self._all) < self.size:
            self._grow()
        future: asyncio.Future[Child] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._offer(future.result())
            raise

    def give_back(self, child: Child) -> None:
        """Take back a child whose call has ended. `_watch` replaces one that has died."""
        if not child.is_alive:
            return
        self._deaths = 0
        options = self._options
        worn = options.max_jobs is not None and child.calls >= options.max_jobs
        fat = options.max_memory is not None and child.memory > options.max_memory
        if (worn or fat) and not self._stopping:
            # The replacement starts before the old one leaves, so that there is no gap.
            supervise(self._replace(child), self._tasks)
        else:
            self._offer(child)

    async def stop(self) -> None:
        """End every child; a busy one is killed at once."""
        self._stopping = True
        for future in self._waiting:
            future.cancel()
        await asyncio.gather(*(child.leave() for child in self._all | self._leaving))
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _offer(self, child: Child) -> None:
        if not child.is_alive:
            return
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(child)
                return
        self._idle.append(child)

    async def _replace(self, old: Child) -> None:
        self._all.discard(old)
        self._leaving.add(old)
        await self._start_one(self._new())
        await old.leave()
        self._leaving.discard(old)

    def _grow(self) -> None:
        supervise(self._start_one(self._new(), self._pause()), self._tasks)

    def _new(self) -> Child:
        heard: Heard = lambda kind, fields: self._heard(child, kind, fields)  # noqa: E731 (a method has no child)
        child = Child(self._setup(), heard)
        self._all.add(child)
        return child

    async def _start_one(self, child: Child, pause: float = 0.0) -> None:
        try:
            await asyncio.sleep(pause)
            await child.start(self._options.start_timeout)
        except (ObanError, OSError) as error:  # an OSError: the system has no room for another process
            self._all.discard(child)
            if self._stopping:
                return  # `stop` has ended it before it was ready
            self._deaths += 1
            logger.error("a child process could not start: %s", error)
            if self._waiting or isinstance(error, ChildDied):  # one that has died is replaced, as if it had been ready
                self._grow()
            return
        self._admit(child)

    def _admit(self, child: Child) -> None:
        supervise(self._watch(child), self._tasks)
        self._offer(child)

    async def _watch(self, child: Child) -> None:
        """Replace the child when it dies."""
        how = await asyncio.shield(child.died)
        known = child in self._all
        self._all.discard(child)
        if child in self._idle:
            self._idle.remove(child)
        if self._stopping or not known:
            return
        if child.was_ended and child.asked == Stop.SHUTDOWN.value and all(future.done() for future in self._waiting):
            logger.info("a child process was killed because its job did not stop")
            return  # another one is started when a job comes
        if child.was_ended:  # because its job had to stop; the next child need not wait for that
            logger.info("a child process was killed because its job did not stop; another one is being started")
        else:
            self._deaths += 1
            logger.warning("%s; another one is being started", how)
        if len(self._all) < self.size:
            self._grow()

    def _pause(self) -> float:
        """Seconds to wait before a start: none after the first death, then twice as long after each."""
        return 0.0 if self._deaths < 2 else min(FIRST_PAUSE * 2 ** (self._deaths - 2), LONGEST_PAUSE)


def usable_processors() -> int:
    """How many processors this process may use, by its affinity and the quota of its control group."""
    affinity = getattr(os, "sched_getaffinity", None)
    usable = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            usable = min(usable, math.ceil(int(quota) / int(period)))
    return max(usable, 1)
