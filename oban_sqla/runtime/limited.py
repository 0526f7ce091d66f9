"""Fetching from a queue with limits or partitions across the cluster.

A short answer means that the queue is full, not that it is empty. So the queue is fetched from again whenever one of
its acks is settled, which is when a slot is free, when its rate allows more, and once a second while limits hold jobs
back: a slot may have come free on another node. Partitions are visited from where the last fetch has ended.
"""

from __future__ import annotations

import time
from typing import Any

from .. import telemetry
from ..options.limits import RateLimit
from ..options.queue import Queue
from ..statements.limits import FETCH_LIMITED, VISITS, make_durable
from .batches import Batches
from .fetcher import LARGEST_BATCH
from .lanes.failure import StatementFailed
from .lanes.lane import Lane
from .refusals import Refusals
from .row import Row, row_of
from .unfit import Unfit

LOOK_EVERY = 1.0
"""Seconds between two fetches while limits hold jobs back and nothing else happens."""


class LimitedFetcher:
    """Makes jobs of one queue those of one producer, within the limits of the whole cluster.

    :param queue: the queue's name.
    :param options: its limits and its partition.
    :param attempted_by: the node's name and the producer's uuid; they become the jobs'.
    :param lane: the connection that fetches.
    :param unfit: the workers that this process does not know.
    :param refusals: the jobs that the database refuses to change.
    """

    awaits_acks = True

    def __init__(
        self,
        *,
        queue: str,
        options: Queue,
        attempted_by: list[str],
        lane: Lane,
        unfit: Unfit,
        refusals: Refusals,
    ) -> None:
        # Whether another fetch may find jobs: written here, and by the producer.
        self.more = True
        # When, in monotonic seconds, another fetch may find jobs: written by fetch().
        self.due = float("inf")
        # Given, and never written again.
        self._queue = queue
        self._lane = lane
        self._batches = Batches(lane, refusals, LARGEST_BATCH, shielded=False)
        self._unfit = unfit
        self._limits: dict[str, Any] = parameters(options) | {"queue": queue, "attempted_by": attempted_by}
        # The partition at which the last fetch has ended: written by fetch().
        self._ring_at: str | None = None
        # Where fetches that looked at as many partitions as they may began: written by _goes_on().
        self._lap_from: str | None = None

    def notice(self) -> None:
        """There may be new jobs."""
        self.more = True

    def start_over(self) -> None:
        """There may be jobs anywhere in the queue."""
        self.more = True

    def ahead(self, _limit: int) -> int:
        """No job is claimed before it can start: it would take a slot and an allowance."""
        return 0

    def at_once(self, demand: int, _limit: int) -> int:
        """How many of `demand` to fetch at once: all, because each fetch takes the lock of the queue."""
        return demand

    def ran(self, seconds: float) -> None:
        """A job ran for so long."""

    async def fetch(self, demand: int) -> list[Row]:
        """Fetch up to `demand` jobs, in the order in which they are to run.

        :raises StatementFailed: when the database did not answer; whether it has given jobs is not known then.
        """
        # Before the statement, because an ack may be settled while it is under way.
        self.more = False
        limits = self._limits
        with telemetry.span("oban.producer.get", queue=self._queue, demand=demand, limited=True) as told:
            try:
                fetched, full = await self._batches.run(
                    FETCH_LIMITED, demand, unknown=self._unfit.names, ring_at=self._ring_at, **limits
                )
            except StatementFailed:
                self.more = True
                raise
            answered = time.monotonic()
            held = fetched[-1] if fetched and fetched[-1][0] is None else None
            taken = fetched if held is None else fetched[:-1]
            if taken:
                await self._make_durable([values[0] for values in taken])
            told["count"] = len(taken)
            self.due = float("inf")
            if held is not None:
                told["wait"] = wait = held[-2]
                self.due = answered + (LOOK_EVERY if wait is None else min(wait, LOOK_EVERY))
        before = self._ring_at
        for values in fetched:
            if values[-3] is not None:
                self._ring_at = values[-3]
        goes_on = held is not None and held[-1] is True and self._goes_on(before, bool(taken))
        if goes_on or full:
            self.more = True
        rows = [row_of(*values[:-3], self._queue, limits["attempted_by"]) for values in taken]
        rows.sort(key=lambda row: row.order)  # RETURNING has no order
        return rows

    async def _make_durable(self, ids: list[int]) -> None:
        """Wait until a crash of the server can't take back what was fetched: no job may begin before."""
        try:
            await self._lane.run_unshielded(make_durable, ids=[str(job_id) for job_id in ids])
        except StatementFailed as error:
            error.unknown = True  # whether these jobs are still this producer's
            self.more = True
            raise

    def _goes_on(self, before: str | None, found: bool) -> bool:
        """Whether partitions are left that have not been looked at since the last job was found."""
        after = self._ring_at
        if found or self._lap_from is None or before is None or after is None:
            self._lap_from = after
            return True
        start = self._lap_from
        passed = before < start <= after if before < after else start > before or start <= after
        if passed:
            self._lap_from = None
        return not passed


def parameters(options: Queue) -> dict[str, Any]:
    """The limits of a queue, as the statement takes them."""
    partition = options.partition
    return {
        "global_limit": options.global_limit,
        **_rate(options.rate_limit, ""),
        "parted": partition is not None,
        "part_limit": None if partition is None else partition.limit,
        **_rate(None if partition is None else partition.rate_limit, "part_"),
        "burst": partition is not None and partition.burst,
        "visits": VISITS,
    }


def _rate(rate: RateLimit | None, prefix: str) -> dict[str, Any]:
    return {
        f"{prefix}allowed": None if rate is None else rate.allowed,
        f"{prefix}period": None if rate is None else rate.seconds,
        f"{prefix}bucket": rate is not None and rate.algorithm == "token_bucket",
    }
