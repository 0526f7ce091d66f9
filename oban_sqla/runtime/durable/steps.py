"""The steps of a node's jobs, on a connection that it makes when a job first asks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from ...errors import DatabaseUnavailable, ObanError
from ...statements.statement import Statement
from ...workers.running_loop import running_loop
from ..lanes.failure import StatementFailed
from ..lanes.lane import Lane
from ..lanes.several import Several

T = TypeVar("T")

PATIENCE = 15.0
"""Seconds for which a statement is tried again while the database is away: its step may have had its effect."""
FIRST_RETRY, LONGEST_RETRY = 0.1, 2.0
REMEMBERED = 2.0
"""Seconds for which a signal is remembered that came while its job did not wait."""


class Steps:
    """A :class:`Store` for the jobs that run in this process or in its children. May be asked on any event loop.

    :param lanes: the connections.
    """

    lives = True

    def __init__(self, lanes: Sequence[Lane]) -> None:
        # Given, and never written again.
        self._lanes = Several(lanes)
        self._loop = asyncio.get_running_loop()
        # Jobs that wait for a signal with their slot in hand: written by heard_here(), set by woke().
        self._ears: dict[int, asyncio.Event] = {}
        # When signals came for jobs that did not wait at that moment, the oldest first: written by woke(), taken by
        # heard_here(). A job looks before it waits, and what comes in between would go unheard.
        self._unheard: dict[int, float] = {}

    @property
    def blocking(self) -> Blocked:
        """The store of plain functions, in threads."""
        return Blocked(self, self._loop)

    async def run(self, statement: Statement, /, **parameters: Any) -> Sequence[Any]:
        """Execute `statement`, again and again for :data:`PATIENCE` seconds if the database does not answer."""
        return await self._at_home(self.run_here(statement, parameters))

    async def heard(self, job_id: int, seconds: float) -> None:
        """Return when a signal was sent to the job, as far as this node hears of it, or after `seconds`."""
        await self._at_home(self.heard_here(job_id, seconds))

    def woke(self, job_id: object) -> None:
        """A signal was sent to the job, as a notification says."""
        if not isinstance(job_id, int):
            return
        if (ear := self._ears.get(job_id)) is not None:
            ear.set()
            return
        now = time.monotonic()
        self._unheard.pop(job_id, None)
        self._unheard[job_id] = now
        while self._unheard[oldest := next(iter(self._unheard))] < now - REMEMBERED:
            del self._unheard[oldest]

    async def run_here(self, statement: Statement, parameters: dict[str, Any]) -> Sequence[Any]:
        """:meth:`run`, on the node's own loop."""
        began, pause, failures = time.monotonic(), FIRST_RETRY, 0
        while True:
            try:
                return await self._lanes.run(statement, **parameters)
            except StatementFailed as error:
                if error.blames_value(failures):
                    raise ObanError(f"the database refused to keep a step: {error}") from error
                if self._lanes.is_given_up or time.monotonic() - began > PATIENCE:
                    raise DatabaseUnavailable(
                        f"the database did not answer within {PATIENCE:g} s; whether the step is kept is not known "
                        f"({error})"
                    ) from error
            await asyncio.sleep(pause)
            pause, failures = min(pause * 2, LONGEST_RETRY), failures + 1

    async def heard_here(self, job_id: int, seconds: float) -> None:
        """:meth:`heard`, on the node's own loop."""
        if self._unheard.pop(job_id, None) is not None:
            return
        ear = self._ears.setdefault(job_id, asyncio.Event())
        try:
            async with asyncio.timeout(seconds):
                await ear.wait()
        except TimeoutError:
            pass
        finally:
            if self._ears.get(job_id) is ear:
                del self._ears[job_id]

    async def _at_home(self, work: Coroutine[Any, Any, T]) -> T:
        if asyncio.get_running_loop() is self._loop:
            return await work
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))


class Blocked:
    """A :class:`Store` for plain functions: they block their thread while the node's loop does the work.

    :param steps: of the node.
    :param loop: the node's.
    """

    lives = True

    def __init__(self, steps: Steps, loop: asyncio.AbstractEventLoop) -> None:
        self._steps = steps
        self._loop = loop

    @property
    def blocking(self) -> Blocked:
        """It blocks already."""
        return self

    async def run(self, statement: Statement, /, **parameters: Any) -> Sequence[Any]:
        return self._result(self._steps.run_here(statement, parameters))

    async def heard(self, job_id: int, seconds: float) -> None:
        self._result(self._steps.heard_here(job_id, seconds))

    def _result(self, work: Coroutine[Any, Any, T]) -> T:
        if running_loop() is self._loop:
            work.close()
            raise ObanError(
                "a plain function on the node's event loop can't wait for a step; make it a coroutine function and "
                "use oban_sqla.durable, or let it run in a thread"
            )
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
