"""What is worth one line of the log a minute, not one for each job."""

from __future__ import annotations

import time
from collections.abc import Hashable

SECONDS = 60.0
MOST = 1_000
"""Things that are remembered."""


class OnceAMinute:
    """Says of a thing whether it is to be said now."""

    __slots__ = ("_said",)

    def __init__(self) -> None:
        # When each thing was last said, the oldest first: written by is_due().
        self._said: dict[Hashable, float] = {}

    def is_due(self, thing: Hashable) -> bool:
        """Whether this was not said within the last minute; from now on it was."""
        now = time.monotonic()
        last = self._said.get(thing)
        if last is not None and now - last < SECONDS:
            return False
        self._said.pop(thing, None)
        self._said[thing] = now
        if len(self._said) > MOST:
            del self._said[next(iter(self._said))]
        return True
