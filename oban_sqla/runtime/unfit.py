"""The workers that a node has met and does not know; other nodes do."""

from __future__ import annotations

import time

from ..workers.registry import workers

FORGET_AFTER = 60.0
"""Seconds after which a worker that was left out of the fetches is fetched again."""


class Unfit:
    """Names of workers whose jobs a producer leaves to other nodes for a while."""

    def __init__(self) -> None:
        # The names, and since when: written by add() and names.
        self._since: dict[str, float] = {}
        # The registry's version when they were last compared with it: written by names.
        self._registered = workers.version

    def add(self, worker: str) -> None:
        """Leave the jobs of this worker out of the fetches."""
        self._since[worker] = time.monotonic()

    @property
    def names(self) -> list[str]:
        """The workers to leave out of a fetch now."""
        if not self._since:
            return []
        if self._registered != workers.version:
            self._registered = workers.version
            self._since = {name: since for name, since in self._since.items() if workers.get(name) is None}
        oldest = time.monotonic() - FORGET_AFTER
        self._since = {name: since for name, since in self._since.items() if since > oldest}
        return list(self._since)
