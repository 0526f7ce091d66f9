"""The sweeper: once a minute the leader looks for what no trigger saw, and makes news of it.

A restore, or a session with ``session_replication_role = replica``, changes jobs without their triggers. The look costs
what the open edges of flows cost, and is harmless where there is nothing to find.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ...statements.releases import sweep
from ...telemetry import node_logger as logger
from ..lanes.lane import Lane
from .duty import Duty
from .leader import Leadership

EVERY = 60.0
"""Seconds between two looks."""


class Sweeper(Duty):
    """Sweeps while its node leads.

    :param lane: the connection for duties that only a leader has.
    :param leadership: says whether this node leads.
    :param news: called when there are news.
    """

    name = "sweeper"

    def __init__(self, *, lane: Lane, leadership: Leadership, news: Callable[[], None]) -> None:
        super().__init__(lane=lane, leadership=leadership)
        # Given, and never written again.
        self._news = news
        # When it looks next: written by lead().
        self._due = time.monotonic() + EVERY

    async def lead(self) -> float | None:
        # An election wakes it as well, and elections may come often.
        if (wait := self._due - time.monotonic()) > 0:
            return wait
        rows = await self._lane.run(sweep, **self._leadership.token)
        self._due = time.monotonic() + EVERY
        if found := sum(made for (made,) in rows):
            logger.warning("the sweep found %d changes of jobs of which no trigger had told", found)
            self._news()
        return EVERY
