"""The stager: makes scheduled and retryable jobs available when they are due.

It sleeps until the next job is due, at most `poll_interval`, and is told of jobs that come sooner. The same statement
says which queues have available jobs, which makes it the poll below all notifications.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from .. import telemetry
from ..statements.stage import stage
from .lanes import Lane
from .loop import Loop

LARGEST_BATCH = 5_000


class Stager(Loop):
    """Stages the jobs of this node's queues.

    :param queues: gives the names of the queues.
    :param noticed: called with each queue that has available jobs.
    :param poll_interval: the longest sleep, in seconds.
    """

    name = "stager"

    def __init__(
        self,
        lane: Lane,
        queues: Callable[[], Iterable[str]],
        noticed: Callable[[str], None],
        poll_interval: float,
    ) -> None:
        super().__init__()
        self._lane = lane
        self._queues = queues
        self._noticed = noticed
        self._poll_interval = poll_interval

    async def step(self) -> float | None:
        queues = list(self._queues())
        if not queues:
            return self._poll_interval
        began = time.perf_counter()
        rows = await self._lane.run(stage, queues=queues, limit=LARGEST_BATCH)
        staged, wait = 0, None
        for queue, count, next_due in rows:
            if queue is None:
                wait = next_due
            else:
                staged += count
                self._noticed(queue)
        if staged and telemetry.listened("oban.stager.stage"):
            telemetry.execute("oban.stager.stage", count=staged, duration=time.perf_counter() - began)
        if staged >= LARGEST_BATCH:
            return 0.0
        return self._poll_interval if wait is None else min(max(wait, 0.001), self._poll_interval)
