"""Ends what takes too long: statements by one timer for all of them, and other work by one each.

A timer for each statement, as drivers set it, is a tenth of what a short one costs the client.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")

LAST_MOMENT = 0.5
"""Seconds that a driver gets to notice that its line was cut."""
LATE = 0.25
"""Seconds by which a timer may come late. What comes later says that the event loop was blocked, not the server: the
answer may lie there unread. Then the time is given once more."""


class Watchdog:
    """Watches one statement at a time.

    :param seconds: what a statement may take.
    :param end: called when one has taken longer; to make it fail.
    """

    def __init__(self, seconds: float, end: Callable[[], object]) -> None:
        self.seconds = seconds
        self.has_bitten = False
        """Whether it has ended the statement that began last."""
        # Given, and never written again.
        self._end = end
        # When the statement under way has to be answered: set by begin(), None again by done() and close().
        self._deadline: float | None = None
        # When the timer should come: written by _look_in().
        self._due = 0.0
        # The one timer: set by begin() and _look(), ended by close().
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """A statement is sent."""
        self.has_bitten = False
        self._deadline = time.monotonic() + self.seconds
        if self._timer is None:
            self._look_in(self.seconds)

    def done(self) -> None:
        """It was answered, or has failed. The timer runs on, for the next one."""
        self._deadline = None

    def close(self) -> None:
        """Nothing more will be sent."""
        self._deadline = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_in(self, seconds: float) -> None:
        self._due = time.monotonic() + seconds
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        now = time.monotonic()
        if (left := self._deadline - now) > 0:
            self._look_in(left)
        elif now - self._due > LATE:
            self._look_in(self.seconds)
        else:
            self.has_bitten = True
            self._end()


def too_late(seconds: float) -> TimeoutError:
    """The error of what was ended after so many seconds."""
    return TimeoutError(f"no answer within {seconds:g} s")


async def within(seconds: float, work: Awaitable[T], end: Callable[[], bool]) -> T:
    """What `work` returns, unless it takes longer.

    Drivers answer a cancellation by asking the server to cancel, or by closing politely, and wait for its answer, which
    may never come. So the line is cut first, and what waits on it fails by itself; what does not end even then is left
    to itself.

    :param end: cuts the line; returns whether there is one.
    :raises TimeoutError: when it took longer.
    """
    task = asyncio.ensure_future(work)
    late = True
    while late and not task.done():
        began = time.monotonic()
        await asyncio.wait([task], timeout=seconds)
        late = time.monotonic() - began > seconds + LATE
    if task.done():
        return task.result()
    task.add_done_callback(take_exception)
    if end():
        await asyncio.wait([task], timeout=LAST_MOMENT)
    if not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=LAST_MOMENT)
    raise too_late(seconds)


def take_exception(task: asyncio.Task[Any]) -> None:
    """Take the exception of a task that nothing waits for any more, or asyncio would log it."""
    if not task.cancelled():
        task.exception()
