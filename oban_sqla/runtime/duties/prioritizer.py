"""The prioritizer: jobs that have waited long become more urgent, so that a flow of urgent ones does not starve them.

Every `interval` of :class:`Prioritize` (60 s) the leader takes one from the priority of each job that has been
available for longer than its policy says.

Telemetry: the span ``oban.prioritizer.raise`` with ``raised_count``, once per round.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from ... import telemetry
from ...options.prioritize import Prioritize
from ...statements.prioritize import statements, waiting_priorities
from ..batches import Batches
from ..lanes.lane import Lane
from ..refusals import Refusals
from .duty import Duty
from .leader import Leadership

LARGEST_BATCH = 1_000
"""Jobs that one statement changes: while it holds their rows, no node fetches them."""


class Prioritizer(Duty):
    """Raises priorities by policies.

    :param lane: the connection to work on.
    :param leadership: says whether this node leads.
    :param prioritize: which jobs become more urgent, and when.
    :param available: called with the queues whose jobs have become more urgent: nodes read them from the front.
    :param refusals: the jobs that the database refuses to change.
    """

    name = "prioritizer"

    def __init__(
        self,
        *,
        lane: Lane,
        leadership: Leadership,
        prioritize: Prioritize,
        available: Callable[[set[str]], None],
        refusals: Refusals,
    ) -> None:
        super().__init__(lane=lane, leadership=leadership)
        # Given, and never written again.
        self._highest, self._limit = prioritize.highest, prioritize.limit
        self._interval = prioritize.seconds_between
        self._available = available
        self._batches = Batches(lane, refusals, LARGEST_BATCH)
        self._statements = statements(prioritize.all_policies)
        waits = [one.wait for one in prioritize.all_policies]
        self._soonest = min((wait for wait in waits if wait is not None), default=math.inf)
        # When the next round comes: written by lead().
        self._round_at = 0.0

    async def lead(self) -> float | None:
        # An election wakes it as well, and elections may come often.
        if (wait := self._round_at - time.monotonic()) > 0:
            return wait
        with telemetry.span("oban.prioritizer.raise", raised_count=0) as told:
            left = self._limit
            # From the most urgent on: what was raised is not met again in this round.
            for (priority,) in await self._waiting():
                if priority > self._highest:
                    left -= await self._raise(priority, left)
            told["raised_count"] = self._limit - left
        self._round_at = time.monotonic() + self._interval
        return self._interval

    async def _waiting(self) -> Sequence[Any]:
        """The priorities of which a job may have waited for long enough."""
        if not self._statements:
            return ()
        return await self._lane.run(waiting_priorities, wait=self._soonest)

    async def _raise(self, priority: int, most: int) -> int:
        """Raise up to `most` jobs of `priority`. Returns how many they were."""
        raised = 0
        for bulk in self._statements:
            full = True
            while full and raised < most and self._leadership.leads and not self._stopping:
                size = min(most - raised, LARGEST_BATCH)
                rows, full = await self._batches.run(bulk, size, priority=priority, **self._leadership.token)
                raised += bulk.count(rows)
                if rows:
                    self._available({queue for queue, _ in rows})
        return raised
