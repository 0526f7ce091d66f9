"""Connections for statements of which many are under way at once: one at first, more while they wait for each other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from ...statements.statement import Statement
from .failure import StatementFailed
from .lane import Lane

WORTH_ANOTHER = 2
"""How many statements each connection has to do before another one is made: to connect takes as long as a few."""

AGAIN = 2.0
"""Seconds until another connection is tried after one that could not be made."""


class Several:
    """Sends each statement on the connection that has the least to do.

    A statement that ends with a commit waits for the disk, and those of several connections wait together.

    :param lanes: the connections; each is made when those before it are busy.
    """

    def __init__(self, lanes: Sequence[Lane]) -> None:
        # Given, and never written again.
        self._lanes = lanes
        # How many statements each connection has to do: written by run().
        self._loads = dict.fromkeys(lanes, 0)
        # Those in use. The others are not made yet, or could not be made again: written by run() and _grow().
        self._made = [lanes[0]]
        # The task that connects another one: made by run(), forgotten at its own end.
        self._growing: asyncio.Task[None] | None = None
        # When, by the monotonic clock, another one may be tried: written by run() and _grow() when one has failed.
        self._grow_at = 0.0

    @property
    def is_given_up(self) -> bool:
        """Whether nothing is sent any more."""
        return self._lanes[0].is_given_up

    async def run(self, statement: Statement, /, **parameters: Any) -> Sequence[Any]:
        """Execute `statement` as :meth:`Lane.run` does."""
        while True:
            lane = min(self._made, key=self._loads.__getitem__)
            if self._loads[lane] >= WORTH_ANOTHER and self._may_grow:
                self._growing = asyncio.create_task(self._grow(), name="oban_sqla connecting")
            self._loads[lane] += 1
            try:
                return await lane.run(statement, **parameters)
            except StatementFailed as error:
                if error.sent or self.is_given_up or self._made == [lane]:
                    raise
                # A server that is full refuses this one while others work, and it would always be the least busy.
                self._grow_at = time.monotonic() + AGAIN
                if lane in self._made:
                    self._made.remove(lane)
            finally:
                self._loads[lane] -= 1

    @property
    def _may_grow(self) -> bool:
        return self._growing is None and len(self._made) < len(self._lanes) and time.monotonic() >= self._grow_at

    async def _grow(self) -> None:
        lane = next(lane for lane in self._lanes if lane not in self._made)
        try:
            await lane.connect()
            self._made.append(lane)
        except StatementFailed:
            self._grow_at = time.monotonic() + AGAIN  # those that are there go on
        finally:
            self._growing = None
