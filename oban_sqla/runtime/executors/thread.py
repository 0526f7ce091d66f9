"""Threads for plain functions: daemons, so that a job that hangs can't keep the process from ending.

The standard library's pool joins its threads when the interpreter exits; this one leaves them. It is the runtime's
own and never the event loop's default one, which the application may fill.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from contextvars import Context
from typing import Any

_Work = tuple[Callable[[], Any], Context, "asyncio.Future[Any]", asyncio.AbstractEventLoop]


class Threads:
    """As many threads as there is work at once, kept for the next work.

    :param name: prefix of the threads' names.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._work: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._count = 0

    def submit(self, fn: Callable[[], Any], context: Context) -> asyncio.Future[Any]:
        """Run `fn` in a thread and in `context`. To be called on the event loop.

        :returns: a future with what `fn` returns or raises, of any kind. Cancelling it does not stop the thread.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        with self._lock:
            if self._idle > 0:
                self._idle -= 1
                spawn = False
            else:
                self._count += 1
                spawn = True
        self._work.put((fn, context, future, loop))
        if spawn:
            threading.Thread(target=self._serve, name=f"{self._name}-{self._count}", daemon=True).start()
        return future

    def close(self) -> None:
        """Let the idle threads end; the busy ones end after their work."""
        for _ in range(self._count):
            self._work.put(None)

    def _serve(self) -> None:
        while (item := self._work.get()) is not None:
            fn, context, future, loop = item
            result: Any = None
            error: BaseException | None = None
            try:
                result = context.run(fn)
            except BaseException as raised:
                error = raised
            with self._lock:
                self._idle += 1
            del fn, context
            try:
                loop.call_soon_threadsafe(_settle, future, result, error)
            except RuntimeError:
                return  # the loop is closed: nobody waits for this any more
            del future, result, error, item


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result((True, result))
    else:
        # In a pair, because a future refuses StopIteration, and would raise SystemExit in the loop.
        future.set_result((False, error))
