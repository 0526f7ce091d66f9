"""Threads for plain functions: daemons, so that a job that hangs can't keep the process from ending.

The standard library's pool joins its threads when the interpreter exits; this one leaves them. It belongs to the
runtime and is never the event loop's default one, which the application may fill.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import queue
import threading
from collections.abc import Callable
from contextvars import Context
from typing import Any

from .call import ENDS_PROCESS, Call, Raised, Result, Returned
from .executor import Timer

_Work = tuple[Callable[[], Any], Context, "asyncio.Future[Result]", asyncio.AbstractEventLoop]


class Threads:
    """As many threads as there is work at once, kept for the next work.

    :param name: prefix of the threads' names.
    """

    interruptible = False

    def __init__(self, name: str) -> None:
        # Given, and never written again.
        self._name = name
        self._lock = threading.Lock()
        # What is to be done, or None for a thread to end: written by _submit() and close(), taken by _serve().
        self._work: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        # Threads without work: written by _submit() and _serve(), under the lock.
        self._idle = 0
        # Threads that were started: written by _spawn().
        self._count = 0

    async def run(self, call: Call) -> Result:
        try:
            submitted = self._submit(call.begin)
        except RuntimeError as error:  # no thread can be started
            return Raised(error)
        result = await submitted
        if isinstance(result, Raised) and isinstance(result.error, ENDS_PROCESS):
            raise result.error
        return result

    def after(self, seconds: float, fn: Callable[..., object], *args: Any) -> Timer:
        return asyncio.get_running_loop().call_later(seconds, fn, *args)

    async def do(self, fn: Callable[[], None]) -> None:
        """Call `fn` in a thread, and wait for its end even while being cancelled. Raises what it raises."""
        future = self._submit(fn)
        while not future.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(future)
        if isinstance(result := future.result(), Raised):
            raise result.error

    def close(self) -> None:
        """Let the idle threads end; the busy ones end after their work."""
        for _ in range(self._count):
            self._work.put(None)

    def _submit(self, fn: Callable[[], Any]) -> asyncio.Future[Result]:
        """Call `fn` in a thread, in a copy of this context. Cancelling the future does not stop the thread."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        with self._lock:
            spawn = self._idle == 0
            if not spawn:
                self._idle -= 1
        if spawn:
            self._spawn()
        self._work.put((fn, contextvars.copy_context(), future, loop))
        return future

    def _spawn(self) -> None:
        """Start a thread, before there is work for it: what has failed for want of a thread must not run later."""
        thread = threading.Thread(target=self._serve, name=f"{self._name}-{self._count + 1}", daemon=True)
        thread.start()
        self._count += 1

    def _serve(self) -> None:
        while (item := self._work.get()) is not None:
            fn, context, future, loop = item
            result: Result
            try:
                result = Returned(context.run(fn))
            except BaseException as raised:
                result = Raised(raised)
            with self._lock:
                self._idle += 1
            del fn, context
            try:
                loop.call_soon_threadsafe(_settle, future, result)
            except RuntimeError:
                return  # the loop is closed, so no task waits for this any more
            del future, result, item


def _settle(future: asyncio.Future[Result], result: Result) -> None:
    if not future.done():  # it is when the event loop was ending
        future.set_result(result)
