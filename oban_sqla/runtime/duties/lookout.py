"""The lookout: tells of jobs that wait in queues which no node runs.

The leader looks once a minute, first 15 s after its election, when the other nodes of a cluster that starts have
started too. Each such queue is one warning a minute. A queue that was stopped on purpose is not meant.
"""

from __future__ import annotations

from ...errors import closest
from ...statements.diagnosis import heads
from ...statements.roster import served
from ...telemetry import queue_logger as logger
from ...telemetry.printable import shell_word
from ..lanes.lane import Lane
from .duty import Duty
from .leader import Leadership

FIRST = 15.0
EVERY = 60.0
"""Seconds from an election to the first look, and between two looks."""

PATIENCE = 10.0
"""Seconds for which a job may wait before it is told of."""

MOST_HEADS = 1_000
"""Pairs of queue and priority that are visited."""


class Lookout(Duty):
    """Looks for queues that no node runs.

    :param lane: the connection to look on.
    :param leadership: says whether this node leads.
    """

    name = "lookout"

    def __init__(self, *, lane: Lane, leadership: Leadership) -> None:
        super().__init__(lane=lane, leadership=leadership)
        # Whether this node has led when it last looked: written by lead() and follow().
        self._led = False
        self.looks = 0
        """How often it has looked. Written by `lead`."""

    async def lead(self) -> float | None:
        if not self._led:
            self._led = True
            return FIRST
        oldest: dict[str, float] = {}
        for queue, _, seconds in await self._lane.run(heads, most=MOST_HEADS):
            oldest[queue] = max(oldest.get(queue, 0.0), seconds or 0.0)
        late = {queue: age for queue, age in oldest.items() if age >= PATIENCE}
        if late:
            rows = await self._lane.run(served)
            running = {queue for queue, stopped in rows if not stopped}
            for queue in sorted(late.keys() - {row[0] for row in rows}):
                self._tell(queue, late[queue], running)
        self.looks += 1
        return EVERY

    async def follow(self) -> float | None:
        self._led = False
        return None

    def _tell(self, queue: str, age: float, running: set[str]) -> None:
        near = closest(queue, running)
        logger.warning(
            "jobs wait in the queue %r, the oldest for %.0f s, and no node runs it%s; start a node with this queue, or "
            "run `oban-sqla queues start %s --limit 10`",
            queue, age, f" (did you mean {near!r}?)" if near else "", shell_word(queue),
        )  # fmt: skip
