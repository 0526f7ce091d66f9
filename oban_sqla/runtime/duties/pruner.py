"""The pruner: deletes finished jobs that are past their age or count.

Every `interval` of :class:`Prune` (60 s) the leader applies its policies. A batch is at most `limit` jobs. While full
batches come it goes on, with a pause after each of :data:`REST` times as long as that took: deleting without a break
would cost the jobs that run meanwhile half of their speed. It has its own connection, only while it prunes. A
batch that the server can't delete in time is halved.

Telemetry: the span ``oban.pruner.prune`` with ``pruned_count``, once per round.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Table

from ... import telemetry
from ...models.belongings import BELONGINGS
from ...options.prune import Prune
from ...statements.belongings import used_belongings
from ...statements.bulk import Bulk
from ...statements.flows import prune_flows
from ...statements.prune import STAMP, statements
from ...statements.prune_batches import AT_ONCE, prune_batches, prune_batches_and_belongings
from ..batches import Batches
from ..lanes.lane import Lane
from ..refusals import Refusals
from .duty import Duty
from .leader import Leadership

MOST_FLOWS = 500
"""Workflows that one statement deletes."""

REST = 3.0
"""How many times longer than a full batch the pause after it is."""


class Pruner(Duty):
    """Prunes by policies.

    :param lane: a connection for this alone; it is closed after each round.
    :param leadership: says whether this node leads.
    :param prune: what to delete when.
    :param refusals: the jobs that the database refuses to delete.
    """

    name = "pruner"

    def __init__(self, *, lane: Lane, leadership: Leadership, prune: Prune, refusals: Refusals) -> None:
        super().__init__(lane=lane, leadership=leadership)
        # Given, and never written again.
        self._prune = prune
        self._interval = prune.seconds_between
        self._batches = Batches(lane, refusals, prune.limit)
        # What prunes, by the tables that have rows of jobs: written by _statements().
        self._made: dict[tuple[Table, ...], list[Bulk]] = {}
        # When the next round comes: written by lead().
        self._round_at = 0.0

    async def lead(self) -> float | None:
        # An election wakes it as well, and elections may come often.
        if (wait := self._round_at - time.monotonic()) > 0:
            return wait
        try:
            with telemetry.span("oban.pruner.prune", pruned_count=0) as told:
                await self._round(told)
        finally:
            await self._lane.close()
        self._round_at = time.monotonic() + self._interval
        return self._interval

    async def _round(self, told: dict[str, Any]) -> None:
        age = self._prune.age
        await self._batches.run(STAMP, self._prune.limit, **self._leadership.token)
        if math.isfinite(age):
            await self._until_none_is_left(partial(self._prune_flows, age), told)
        # Looking for rows beside the jobs costs as much as deleting plain jobs. What is written during the round
        # belongs to jobs that run, and is found by the next one, or by the walk through orphans.
        [used] = await self._lane.run(used_belongings)
        if math.isfinite(age):
            await self._until_none_is_left(partial(self._prune_batches, age, any(used)), told)
        for statement in self._statements(used):
            await self._until_none_is_left(partial(self._prune_jobs, statement), told)

    async def _until_none_is_left(self, prune: Callable[[], Awaitable[tuple[int, bool]]], told: dict[str, Any]) -> None:
        """Call `prune` until nothing is left to delete, and wait after each call; see :data:`REST`.

        :param prune: deletes a batch; returns how many jobs that were, and whether there may be more.
        :param told: counts the jobs.
        """
        goes_on = True
        while goes_on and self._leadership.leads and not self._stopping:
            began = time.perf_counter()
            deleted, goes_on = await prune()
            told["pruned_count"] = told.get("pruned_count", 0) + deleted
            if goes_on:
                await self._until_stopped(REST * (time.perf_counter() - began))

    async def _prune_flows(self, age: float) -> tuple[int, bool]:
        """Workflows go whole, by the time at which they finished: a retry needs the results of all of their jobs."""
        rows = await self._lane.run(prune_flows, age=age, limit=MOST_FLOWS, **self._leadership.token)
        deleted = sum(row[0] or 0 for row in rows)
        return deleted, deleted > 0

    async def _prune_batches(self, age: float, belongings: bool) -> tuple[int, bool]:
        prune = prune_batches_and_belongings if belongings else prune_batches
        [(deleted, batches)] = await self._lane.run(prune, limit=AT_ONCE, age=age, **self._leadership.token)
        return deleted, batches == AT_ONCE

    async def _prune_jobs(self, statement: Bulk) -> tuple[int, bool]:
        [(deleted,)], full = await self._batches.run(statement, self._prune.limit, **self._leadership.token)
        return deleted, full

    def _statements(self, used: Sequence[bool]) -> list[Bulk]:
        """What prunes, where these of :data:`BELONGINGS` have rows."""
        tables = tuple(table for table, is_used in zip(BELONGINGS, used, strict=True) if is_used)
        if tables not in self._made:
            self._made[tables] = statements(self._prune.all_policies, tables)
        return self._made[tables]
