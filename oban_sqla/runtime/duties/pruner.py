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
from collections.abc import Sequence
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

    def _statements(self, used: Sequence[bool]) -> list[Bulk]:
        """What prunes, where these of :data:`BELONGINGS` have rows."""
        tables = tuple(table for table, is_used in zip(BELONGINGS, used, strict=True) if is_used)
        if tables not in self._made:
            self._made[tables] = statements(self._prune.all_policies, tables)
        return self._made[tables]

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

    async def _prune_flows(self, told: dict[str, Any]) -> None:
        """Workflows go whole, by the time at which they finished: a retry needs the results of all of their jobs."""
        age = self._prune.age
        while math.isfinite(age) and self._leadership.leads and not self._stopping:
            began = time.perf_counter()
            rows = await self._lane.run(prune_flows, age=age, limit=MOST_FLOWS, **self._leadership.token)
            deleted = sum(row[0] or 0 for row in rows)
            told["pruned_count"] = told.get("pruned_count", 0) + deleted
            if not deleted:
                return
            await self._until_stopped(REST * (time.perf_counter() - began))

    async def _round(self, told: dict[str, Any]) -> None:
        limit, token = self._prune.limit, self._leadership.token
        await self._batches.run(STAMP, limit, **token)
        await self._prune_flows(told)
        # Looking for rows beside the jobs costs as much as deleting plain jobs. What is written during the round
        # belongs to jobs that run, and is found by the next one, or by the walk through orphans.
        [used] = await self._lane.run(used_belongings)
        if (age := self._prune.all_policies[-1].age) is not None:
            await self._prune_batches(age, any(used), told)
        for statement in self._statements(used):
            full = True
            while full and self._leadership.leads and not self._stopping:
                began = time.perf_counter()
                [(deleted,)], full = await self._batches.run(statement, limit, **token)
                told["pruned_count"] = told.get("pruned_count", 0) + deleted
                if full:
                    await self._until_stopped(REST * (time.perf_counter() - began))

    async def _prune_batches(self, age: float, belongings: bool, told: dict[str, Any]) -> None:
        prune = prune_batches_and_belongings if belongings else prune_batches
        pruned = AT_ONCE
        while pruned == AT_ONCE and self._leadership.leads and not self._stopping:
            began = time.perf_counter()
            [(deleted, pruned)] = await self._lane.run(prune, limit=AT_ONCE, age=age, **self._leadership.token)
            told["pruned_count"] = told.get("pruned_count", 0) + deleted
            if pruned == AT_ONCE:
                await self._until_stopped(REST * (time.perf_counter() - began))
