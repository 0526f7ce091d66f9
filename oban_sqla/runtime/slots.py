"""The slots of a queue on its node: which running jobs count in the limit, and which have given their place up."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from ..workers.running_loop import running_loop


class Slots:
    """The slots of one queue.

    A job that waits for another one frees its slot, and takes it again before it goes on; one that has released its
    slot does not count to its end. Its methods may be called from any thread.

    :param running: the jobs that run, by their ids.
    :param limit: gives how many of them may count.
    :param freed: called when a slot has become free.
    """

    __slots__ = ("_freed", "_limit", "_loop", "_released", "_returning", "_running", "_waiting", "out")

    def __init__(self, *, running: Mapping[int, Any], limit: Callable[[], int], freed: Callable[[], None]) -> None:
        self.out: set[int] = set()
        """The ids of running jobs that do not count."""
        # Given, and never written again.
        self._running = running
        self._limit = limit
        self._freed = freed
        self._loop = asyncio.get_running_loop()
        # Of these, those that have released it for good: written by release() and ended().
        self._released: set[int] = set()
        # How many waits of a job are under way: written by leave(), _is_last() and ended().
        self._waiting: dict[int, int] = {}
        # Jobs that want their slot again, the first first: written by _back(), taken by hand_on().
        self._returning: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def occupied(self) -> int:
        """How many running jobs count."""
        return len(self._running) - len(self.out)

    def release(self, job_id: int) -> None:
        """From now on this job does not count."""
        self._call(self._release, job_id)

    def leave(self, job_id: int) -> None:
        """This job waits, and does not count meanwhile."""
        self._call(self._leave, job_id)

    async def back(self, job_id: int) -> None:
        """The end of :meth:`leave`: wait until there is a slot. One that is cancelled meanwhile counts at once."""
        if self._is_here():
            await self._back(job_id)
        else:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._back(job_id), self._loop))

    def return_now(self, job_id: int) -> None:
        """The end of :meth:`leave` for a job whose wait was cancelled: it goes on, and counts at once."""
        self._call(self._return, job_id)

    def ended(self, job_id: int) -> None:
        """The job runs no longer."""
        self.out.discard(job_id)
        self._released.discard(job_id)
        self._waiting.pop(job_id, None)

    def hand_on(self) -> None:
        """Give free slots to the jobs that want theirs again."""
        while self._returning and self.occupied < self._limit():
            job_id, future = self._returning.popleft()
            if not future.done():
                self.out.discard(job_id)
                future.set_result(None)

    def _release(self, job_id: int) -> None:
        self._released.add(job_id)
        self._free(job_id)

    def _leave(self, job_id: int) -> None:
        self._waiting[job_id] = self._waiting.get(job_id, 0) + 1
        self._free(job_id)

    def _free(self, job_id: int) -> None:
        if job_id in self._running and job_id not in self.out:
            self.out.add(job_id)
            self.hand_on()
            self._freed()

    async def _back(self, job_id: int) -> None:
        if not self._is_last(job_id):
            return
        if not self._returning and self.occupied < self._limit():
            self.out.discard(job_id)
            return
        future: asyncio.Future[None] = self._loop.create_future()
        self._returning.append((job_id, future))
        try:
            await future
        finally:
            self.out.discard(job_id)

    def _return(self, job_id: int) -> None:
        if self._is_last(job_id):
            self.out.discard(job_id)

    def _is_last(self, job_id: int) -> bool:
        """Whether the wait that ends is the last one of a job that wants its slot again."""
        left = self._waiting.get(job_id, 0) - 1
        if left > 0:
            self._waiting[job_id] = left
            return False
        self._waiting.pop(job_id, None)
        return job_id in self.out and job_id not in self._released

    def _is_here(self) -> bool:
        return running_loop() is self._loop

    def _call(self, fn: Callable[[int], None], job_id: int) -> None:
        if self._is_here():
            fn(job_id)
        else:
            self._loop.call_soon_threadsafe(fn, job_id)
