"""The stager: makes scheduled and retryable jobs available when they are due.

The leader stages for all queues. It sleeps until the next job is due, and tells the nodes of the queues that it staged.
The other nodes poll: one statement for all their queues, which finds available jobs whose notification was lost. Both
look every `poll_interval` at least; where notifications come, five seconds are enough: a job that will be due within
five seconds is announced when it is written, so it is on time, unless another program wrote it shortly before.

A node that finds its jobs overdue when it polls, because there is no leader, or it hangs, or can't be reached, stages
for its own queues until that is over.

Telemetry: the span ``oban.stager.stage`` with ``staged_count``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ... import telemetry
from ...enqueueing.wakeup import SOON
from ...statements.stage import STAGE_ALL, STAGE_OWN, poll
from ..batches import Batches
from ..lanes.lane import Lane
from ..refusals import Refusals
from .duty import Duty
from .leader import Leadership

LARGEST_BATCH = 5_000
LISTENING = 5
"""How many times less often a node looks that notifications reach."""
GRACE = 2.0
"""Seconds for which a job may be due before a node that does not lead stages it."""
ALONE_FOR = 15.0
"""Seconds for which it then stages for its own queues."""


class Stager(Duty):
    """Stages as the leader, and polls as any other node.

    :param lane: the connection to stage and poll on.
    :param leadership: says whether this node leads.
    :param poll_interval: the longest sleep, in seconds; up to five times as long where notifications come.
    :param queues: gives the names of this node's queues.
    :param noticed: called with each of them that has available jobs.
    :param staged: called with the queues in which jobs were staged, to tell the other nodes.
    :param listens: says whether notifications reach this node.
    :param refusals: the jobs that the database refuses to stage.
    :param news: called when there are news.
    """

    name = "stager"

    def __init__(
        self,
        *,
        lane: Lane,
        leadership: Leadership,
        poll_interval: float,
        queues: Callable[[], Iterable[str]],
        noticed: Callable[[str], object],
        staged: Callable[[set[str]], None],
        listens: Callable[[], bool],
        refusals: Refusals,
        news: Callable[[], None],
    ) -> None:
        super().__init__(lane=lane, leadership=leadership)
        # Given, and never written again.
        self._poll_interval = poll_interval
        self._queues = queues
        self._noticed = noticed
        self._staged = staged
        self._listens = listens
        self._news = news
        self._batches = Batches(lane, refusals, LARGEST_BATCH)
        # Until when this node stages for its own queues: written by lead() and _poll().
        self._alone_until = 0.0

    async def lead(self) -> float | None:
        self._alone_until = 0.0
        with telemetry.span("oban.stager.stage") as told:
            given = {"queues": list(self._queues()), **self._leadership.token}
            return self._outcome(*await self._batches.run(STAGE_ALL, LARGEST_BATCH, **given), told)

    async def follow(self) -> float | None:
        queues = list(self._queues())
        if not queues:
            return None  # until it is elected
        if time.monotonic() < self._alone_until:
            with telemetry.span("oban.stager.stage") as told:
                given = {"queues": queues}
                return self._outcome(*await self._batches.run(STAGE_OWN, LARGEST_BATCH, **given), told)
        return await self._poll(queues)

    async def _poll(self, queues: list[str]) -> float:
        for (queue,) in await self._lane.run(poll, queues=queues, grace=GRACE):
            if queue:
                self._noticed(queue)
            elif queue is not None:
                self._news()
            else:
                telemetry.leader_logger.warning(
                    "overdue jobs found and no leader is staging; staging this node's queues for %g s", ALONE_FOR
                )
                self._alone_until = time.monotonic() + ALONE_FOR
                return 0.0
        return self._rest

    def _outcome(self, rows: Sequence[Any], full: bool, told: dict[str, Any]) -> float:
        count, wait = 0, None
        queues: set[str] = set()
        for queue, staged, next_due in rows:
            if queue is None:
                wait = next_due
                continue
            if not queue:
                self._news()
                continue
            self._noticed(queue)
            if staged:
                count += staged
                queues.add(queue)
        told["staged_count"] = count
        if queues:
            self._staged(queues)
        if full:
            return 0.0
        return self._rest if wait is None else min(max(float(wait), 0.001), self._rest)

    @property
    def _rest(self) -> float:
        """The longest sleep: not beyond what is told in advance, or a job of which no node tells would be late."""
        longest = min(LISTENING * self._poll_interval, SOON) if self._listens() else 0.0
        return max(longest, self._poll_interval)
