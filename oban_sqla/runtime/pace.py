"""How many jobs are worth claiming before there is room for them.

When jobs are shorter than the way to the database and back, the slots of a queue stand empty for most of each fetch.
Claiming more than there are slots fills them; how many more follows from the two times as they are measured.
"""

from __future__ import annotations

import math

WEIGHT = 0.2
"""Of a new measurement in the moving averages."""


class Pace:
    """Measures jobs and round trips.

    :param most: the largest number ahead, from ``Queue(prefetch=…)``.
    """

    def __init__(self, most: int) -> None:
        # Given, and never written again.
        self._most = most
        # Moving averages in seconds, None before the first: written by job() and trip().
        self._job: float | None = None
        self._trip: float | None = None

    def job(self, seconds: float) -> None:
        """A job ran for so long."""
        if self._most:  # else it is not asked for
            self._job = _average(self._job, seconds)

    def trip(self, seconds: float) -> None:
        """A fetch took so long."""
        self._trip = _average(self._trip, seconds)

    def ahead(self, limit: int) -> int:
        """How many jobs, beyond the `limit` that may run, are worth claiming: as many as run during one fetch."""
        if self._most == 0 or self._job is None or self._trip is None or self._job >= self._trip:
            return 0
        return min(self._most, math.ceil(limit * self._trip / max(self._job, 1e-6)))


def _average(before: float | None, value: float) -> float:
    return value if before is None else before + WEIGHT * (value - before)
