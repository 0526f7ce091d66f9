"""Fetching from a queue without limits across the cluster: from where to read, and how many jobs ahead."""

from __future__ import annotations

import time
from typing import Any

from .. import telemetry
from ..statements.fetch import FETCH, FETCH_CHUNK, FETCH_ONWARD
from .batches import Batches
from .cursor import Cursor
from .lanes.failure import StatementFailed
from .lanes.lane import Lane
from .pace import Pace
from .refusals import Refusals
from .row import Row, row_of
from .unfit import Unfit

LARGEST_BATCH = 10_000
LARGE = 100
"""The limit from which on a queue is fetched in halves; of smaller halves the statements cost more than they gain."""


class Fetcher:
    """Makes jobs of one queue those of one producer.

    :param queue: the queue's name.
    :param attempted_by: the node's name and the producer's uuid; they become the jobs'.
    :param lane: the connection that fetches.
    :param unfit: the workers that this process does not know.
    :param prefetch: the most jobs to claim beyond those that there is room for.
    :param refusals: the jobs that the database refuses to change.
    """

    awaits_acks = False
    due = float("inf")

    def __init__(
        self,
        *,
        queue: str,
        attempted_by: list[str],
        lane: Lane,
        unfit: Unfit,
        prefetch: int,
        refusals: Refusals,
    ) -> None:
        # Whether another fetch may find jobs: written here, and by the producer when it gives a job back.
        self.more = True
        # Given, and never written again.
        self._queue = queue
        self._attempted_by = attempted_by
        self._batches = Batches(lane, refusals, LARGEST_BATCH, shielded=False)
        self._unfit = unfit
        # Where to read from: moved by fetch(), sent back by notice() and start_over().
        self._cursor = Cursor()
        # How long fetches and jobs take: written by fetch() and ran().
        self._pace = Pace(prefetch)

    def notice(self) -> None:
        """There may be new jobs."""
        self.more = True
        self._cursor.notice()

    def start_over(self) -> None:
        """There may be jobs anywhere in the queue, also before the last one fetched."""
        self.more = True
        self._cursor.forget()

    def ahead(self, limit: int) -> int:
        """How many jobs, beyond the `limit` that may run, are worth claiming now."""
        return self._pace.ahead(limit)

    def at_once(self, demand: int, limit: int) -> int:
        """How many of `demand` to fetch at once: in a large queue one half runs while the other is fetched."""
        return demand if limit < LARGE else min(demand, limit // 2)

    def ran(self, seconds: float) -> None:
        """A job ran for so long."""
        self._pace.job(seconds)

    async def fetch(self, demand: int) -> list[Row]:
        """Fetch up to `demand` jobs, in the order in which they are to run.

        :raises StatementFailed: when the database did not answer; whether it has given jobs is not known then.
        """
        # Before the statement, because a notice may come while it is under way.
        self.more = False
        since = self._cursor.place
        given: dict[str, Any] = {"attempted_by": self._attempted_by, "unknown": self._unfit.names}
        if since is not None:
            given |= {"priority": since[0], "scheduled_at": since[1], "id": since[2]}
        began = time.monotonic()
        with telemetry.span("oban.producer.get", queue=self._queue, demand=demand) as told:
            try:
                bulk = FETCH if since is None else FETCH_ONWARD
                fetched, full = await self._batches.run(bulk, demand, queue=self._queue, **given)
            except StatementFailed:
                self.more = True
                raise
            told["count"] = len(fetched)
        rows = [row_of(*values, self._queue, self._attempted_by) for values in fetched]
        if len(rows) > 1:
            rows.sort(key=lambda row: row.order)  # RETURNING has no order
        self._pace.trip(time.monotonic() - began)
        self._cursor.read(since, rows[-1].order if full else None, began)
        # After a short batch from the front nothing is there until a notice says so; the poll is the net below.
        if full or since is not None:
            self.more = True
        return rows

    async def fetch_chunk(self, leader: Row, demand: int) -> tuple[list[Row], bool]:
        """Fetch up to `demand` jobs that run together with `leader`, in order, and say whether there may be more.

        :raises StatementFailed: when the database did not answer; whether it has given jobs is not known then.
        """
        given: dict[str, Any] = {"attempted_by": self._attempted_by, "unknown": self._unfit.names}
        with telemetry.span("oban.producer.get", queue=self._queue, demand=demand, chunk=leader.id) as told:
            fetched, full = await self._batches.run(FETCH_CHUNK, demand, queue=self._queue, leader=leader.id, **given)
            told["count"] = len(fetched)
        rows = [row_of(*values, self._queue, self._attempted_by) for values in fetched]
        rows.sort(key=lambda row: row.order)
        return rows, full
