"""Ends statements that take too long, with one timer for all of them.

A timer for each, as drivers set it, is a tenth of what a short statement costs the client.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class Watchdog:
    """Watches one statement at a time.

    :param seconds: what a statement may take.
    :param end: called when one has taken longer; to make it fail.
    """

    def __init__(self, seconds: float, end: Callable[[], None]) -> None:
        self.seconds = seconds
        self.has_bitten = False
        """Whether it has ended the statement that began last."""
        self._end = end
        self._deadline: float | None = None
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
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        if (left := self._deadline - time.monotonic()) > 0:
            self._look_in(left)
        else:
            self.has_bitten = True
            self._end()
