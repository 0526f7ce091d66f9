"""What every background process of the runtime has in common, so that each is only its `step`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from abc import ABC, abstractmethod
from contextvars import Context, copy_context
from typing import Any
from weakref import WeakSet

from ..telemetry import node_logger as logger
from ..telemetry.database_error import described, of_database

FIRST_RETRY = 0.1
LONGEST_RETRY = 3.0
"""Seconds. With the time to connect, work goes on within five seconds of the server's return."""

ONLY_FAILS = 5
"""Failures in a row, after a second or two, from which on a loop no longer counts as one that works."""

_PREFIX = "oban_sqla "
"""With which the names of its tasks begin."""

_told: WeakSet[asyncio.Task[Any]] = WeakSet()
"""Tasks of which the log has said that they end unasked. Written by the first of those that end together."""


class Loop(ABC):
    """A task that repeats :meth:`step` until it is stopped.

    A step that raises is logged and tried again after 0.1 s, doubling up to 3 s, less a jitter: nothing that one
    database error does may end a loop. Of the same failure again and again the log has the first, second, fourth,
    eighth, …, and the end.
    """

    name: str
    longest_retry: float = LONGEST_RETRY
    """Seconds between two tries of a step that keeps failing."""

    def __init__(self) -> None:
        self.context: Context = copy_context()
        """In which its task runs. Written by whatever makes the loop where a request may be under way."""
        self.may_end = False
        """Whether its task may end with the event loop without a word. Written by what leaves it running."""
        # Set by start(), taken away by stop().
        self._task: asyncio.Task[None] | None = None
        # Set by wake() and stop(), and when the pause between two steps is over; cleared before each step.
        self._awake = asyncio.Event()
        # Set by stop(), cleared by start().
        self._stopped = asyncio.Event()
        # How often the step has failed since it last succeeded: written by _repeat() and _progress().
        self._failures = 0
        # What the last failure said: written by _tell_of_failure().
        self._said = ""
        # Seconds that start() waits before the first step: written by first().
        self._delay: float | None = 0.0

    @property
    def is_alive(self) -> bool:
        """Whether it was started, and neither stopped nor ended."""
        return self._task is not None and not self._task.done()

    @property
    def works(self) -> bool:
        """Whether it is alive, and its step does not fail again and again."""
        return self.is_alive and self._failures < ONLY_FAILS

    @property
    def _stopping(self) -> bool:
        return self._stopped.is_set()

    @abstractmethod
    async def step(self) -> float | None:
        """Do what is to be done now.

        :returns: seconds until the next step unless the loop is woken before; None to wait for that.
        """

    async def first(self) -> None:
        """Take the first step now, before :meth:`start`, so that its failure is the caller's."""
        self._awake.clear()
        self._delay = await self.step()

    def start(self) -> None:
        """Begin. The first step comes at once; after :meth:`first` the next one, when it is due."""
        self._stopped.clear()
        self._task = asyncio.create_task(self._run(), name=f"{_PREFIX}{self.name}", context=self.context.copy())

    async def stop(self) -> None:
        """End after the step that is under way."""
        self._stopped.set()
        self._awake.set()
        if self._task is not None:
            task, self._task = self._task, None
            await asyncio.wait([task])

    def wake(self) -> None:
        """Let the next step come now, or right after the one that is under way."""
        self._awake.set()

    def _progress(self) -> None:
        """A step, or a part of a long one, has succeeded: what fails next fails for the first time."""
        if self._failures > 1:
            logger.info("%s: goes on after %d failures", self.name, self._failures)
        self._failures = 0

    async def _run(self) -> None:
        try:
            await self._repeat()
        except BaseException as error:
            if not self._stopping and not self.may_end:
                self._tell_of_end(error)
            raise

    def _tell_of_end(self, error: BaseException) -> None:
        """Say once that the loops which are being cancelled at this moment have ended."""
        if asyncio.current_task() in _told:
            return
        ending = {task for task in asyncio.all_tasks() if task.get_name().startswith(_PREFIX) and task.cancelling()}
        _told.update(ending)
        more = len(ending) - 1
        which = f"{self.name} and {more} more background loops have" if more > 0 else f"{self.name} has"
        logger.error(
            "%s ended, because of a cancelled task or the end of the event loop (%s); stop the runtime with "
            "Oban.stop() instead, or use `async with oban:`", which, type(error).__name__,
        )  # fmt: skip

    async def _repeat(self) -> None:
        if self._delay != 0.0:
            await self._sleep(self._delay)
        while not self._stopping:
            self._awake.clear()
            try:
                delay = await self.step()
                self._progress()
            except Exception as error:
                self._failures += 1
                longest = min(FIRST_RETRY * 2 ** min(self._failures - 1, 10), self.longest_retry)
                delay = longest * random.uniform(0.5, 1.0)
                self._tell_of_failure(error, delay)
                # Not hurried by a wake-up, which says nothing about what is failing.
                await self._until_stopped(delay)
                continue
            if not self._stopping:
                await self._sleep(delay)

    def _tell_of_failure(self, error: Exception, delay: float) -> None:
        of_server = not isinstance(error, OSError) and of_database(error)
        said = described(error) if of_server else f"{type(error).__name__}: {error}"
        is_known = of_server or isinstance(error, OSError)
        # An outage of an hour would else be more than a thousand lines of each loop.
        is_repeated = is_known and said == self._said and self._failures & (self._failures - 1) != 0
        self._said = said
        level = logging.DEBUG if is_repeated else logging.WARNING
        logger.log(level, "%s: %s; trying again in %.1f s", self.name, said, delay, exc_info=not is_known)

    async def _until_stopped(self, delay: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._stopped.wait()

    async def _sleep(self, delay: float | None) -> None:
        if delay is None:
            await self._awake.wait()
        elif delay > 0:
            waker = asyncio.get_running_loop().call_later(delay, self._awake.set)
            try:
                await self._awake.wait()
            finally:
                waker.cancel()
        else:
            await asyncio.sleep(0)
