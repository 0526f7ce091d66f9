"""Where fetching from a queue has got to.

While some transaction stays open, nothing can be vacuumed, and the entries of all jobs fetched since it began lie dead
at the front of the fetch index: after five minutes at 2,000 jobs a second a fetch from the front reads 600,000 of them.
From the last fetched job on it reads none. But jobs appear before that place too (a more urgent one, a retry, a commit
that came late), so the place is only a hint, and is forgotten again and again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import datetime

Place = tuple[int, datetime, int]
"""The priority, due time and id of a job."""

LONGEST = 1.0
"""Seconds for which a job before the cursor may be passed over."""
SHARE = 20
"""After a notice the front is read again when this many times the cost of the last reading has passed: a notice is
heard at once where that is cheap, and where it isn't, notices make it at most a twentieth of the work."""


class Cursor:
    """The place from which the next fetch of a queue reads.

    :param clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        # Given, and never written again.
        self._clock = clock
        # The last job fetched: written by read(), forgotten by place and forget().
        self._place: Place | None = None
        # When the front was last read, and for how many seconds: written by read().
        self._front_at = 0.0
        self._front_cost = 0.0
        # When the place is to be forgotten, by the clock: written by read() and notice().
        self._until = 0.0
        # When there was a notice, by the clock: written by notice().
        self._noticed_at = -math.inf

    @property
    def place(self) -> Place | None:
        """The job behind which the next fetch reads; None to read from the front."""
        if self._place is not None and self._clock() >= self._until:
            self._place = None
        return self._place

    def notice(self) -> None:
        """There may be jobs before the cursor."""
        self._noticed_at = self._clock()
        self._until = min(self._until, self._front_at + SHARE * self._front_cost)

    def forget(self) -> None:
        """Read from the front next."""
        self._place = None

    def read(self, since: Place | None, last: Place | None, began: float) -> None:
        """A fetch has been answered.

        :param since: where it began to read.
        :param last: the last job that it took; None when it took fewer than it asked for.
        :param began: when it was sent, by the clock.
        """
        if since is None:
            self._front_at, self._front_cost = began, self._clock() - began
            self._until = began + LONGEST
            if self._noticed_at >= began:  # while it was read: what was told of may not have been there yet
                self._until = min(self._until, self._front_at + SHARE * self._front_cost)
        self._place = last
