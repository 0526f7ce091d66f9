"""The keeper: sees to it that every waiting job of a partitioned queue can be fetched.

A job that was enqueued before its queue had a partition has no key, and no fetch from the ring of partitions finds it.
When a queue is partitioned in another way, the leader walks through its waiting jobs at once, also those that wait for
their time or for others, until two walks in a row have found none without a key of the present way; then once a minute
through what is available, because a transaction may commit jobs long after it has looked how their queue is
partitioned. The fetch itself gives keys to those that it meets.

It also deletes what is known of starts that no rate limit counts any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from ...statements.partitions import (
    drop_idle_rates,
    partitioned,
    rekey,
    stale_running,
    stale_scheduled,
    stale_suspended,
    stale_waiting,
)
from ...statements.statement import Statement
from ...telemetry import queue_logger as logger
from ...telemetry.words import counted_jobs
from ..lanes.failure import StatementFailed
from ..lanes.lane import Lane
from ..refusals import Refusals
from .duty import Duty
from .leader import Leadership

LOOK_EVERY = 5.0
"""Seconds between two looks for queues that are partitioned in another way."""

WALK_EVERY = 60.0
"""Seconds between two walks through the waiting jobs of each partitioned queue."""

PAGE = 2_000
"""Jobs that one statement looks at."""

WALKS: Sequence[tuple[Statement, dict[str, Any]]] = (
    (stale_waiting, {"priority": -1, "scheduled_at": datetime.min, "id": 0}),
    (stale_scheduled, {"scheduled_at": datetime.min, "id": 0}),
    (stale_suspended, {"id": 0}),
)
"""Through which jobs of a queue, and where each walk begins."""


class Keeper(Duty):
    """Keeps the keys of partitions.

    :param lane: the connection for duties that only a leader has.
    :param leadership: says whether this node leads.
    :param available: called with a queue in which jobs can be fetched now.
    :param refusals: names the jobs that the database refuses to change.
    """

    name = "keeper"

    def __init__(
        self, *, lane: Lane, leadership: Leadership, available: Callable[[set[str]], None], refusals: Refusals
    ) -> None:
        super().__init__(lane=lane, leadership=leadership)
        # Given, and never written again.
        self._available = available
        self._refusals = refusals
        # How many walks in a row have found nothing, by queue and epoch: written by lead().
        self._quiet: dict[tuple[str, int], int] = {}
        # When all queues are walked through again: written by lead().
        self._walk_at = 0.0

    async def lead(self) -> float | None:
        rows = await self._lane.run(partitioned)
        queues = {(queue, epoch): self._quiet.get((queue, epoch), 0) for queue, epoch in rows}
        if is_due := time.monotonic() >= self._walk_at:
            self._walk_at = time.monotonic() + WALK_EVERY
            await self._lane.run(drop_idle_rates, limit=10 * PAGE, **self._leadership.token)
        busy = False
        for (queue, epoch), quiet in queues.items():
            if quiet < 2 or is_due:
                found = await self._walk(queue, epoch, is_new=quiet < 2)
                queues[queue, epoch] = 0 if found else quiet + 1
                busy |= queues[queue, epoch] < 2
        self._quiet = queues
        return 0.1 if busy else LOOK_EVERY

    async def _walk(self, queue: str, epoch: int, is_new: bool) -> int:
        """Give keys to the jobs of `queue` that lack one of `epoch`. Returns how many did."""
        rows = await self._lane.run(stale_running, queue=queue, epoch=epoch, limit=PAGE)
        found = await self._rekey([job_id for (job_id,) in rows])
        for stale, begin in WALKS if is_new else WALKS[:1]:
            place = begin
            while self._leadership.leads and not self._stopping:
                [(ids, seen, *last)] = await self._lane.run(stale, queue=queue, epoch=epoch, limit=PAGE, **place)
                if ids and (rekeyed := await self._rekey(ids)):
                    found += rekeyed
                    self._available({queue})
                if seen < PAGE:
                    break
                place = dict(zip(begin, last, strict=True))
        if found:
            logger.info("queue %r: %s got a key of its partitions", queue, counted_jobs(found))
        return found

    async def _rekey(self, ids: list[int]) -> int:
        """Give these jobs keys, apart from those that the database refuses to change. Returns how many got one."""
        if not ids:
            return 0
        try:
            return len(await self._lane.run(rekey, given=ids, **self._leadership.token))
        except StatementFailed as error:
            if not error.is_data_error:
                raise
            if len(ids) == 1:
                self._refusals.name(ids[0], error)
                return 0
        half = len(ids) // 2
        return await self._rekey(ids[:half]) + await self._rekey(ids[half:])
