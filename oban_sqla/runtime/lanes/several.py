"""Connections for statements of which many are under way at once: one at first, more while they wait for each other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from ...statements.statement import Statement
from .failure import StatementFailed
from .lane import Lane

WORTH_ANOTHER = 2
"""How many statements each connection has to do before another one is made: to connect takes as long as a few."""


class Several:
    """Sends each statement on the connection that has the least to do.

    A statement that ends with a commit waits for the disk, and those of several connections wait together.

    :param lanes: the connections; each is made when those before it are busy.
    """

    def __init__(self, lanes: Sequence[Lane]) -> None:
        # Given, and never written again.
        self._lanes = lanes
        # How many statements each connection has to do: written by run(). Those that are not made yet are not in it.
        self._loads: dict[Lane, int] = {lanes[0]: 0}
        # The task that connects another one: written by _grow() and at its end.
        self._growing: asyncio.Task[None] | None = None

    @property
    def is_given_up(self) -> bool:
        """Whether nothing is sent any more."""
        return self._lanes[0].is_given_up

    async def run(self, statement: Statement, /, **parameters: Any) -> Sequence[Any]:
        """Execute `statement` as :meth:`Lane.run` does."""
        lane = min(self._loads, key=self._loads.__getitem__)
        if self._loads[lane] >= WORTH_ANOTHER and self._growing is None and len(self._loads) < len(self._lanes):
            self._growing = asyncio.create_task(self._grow(), name="oban_sqla connecting")
        self._loads[lane] += 1
        try:
            return await lane.run(statement, **parameters)
        finally:
            self._loads[lane] -= 1

    async def _grow(self) -> None:
        lane = self._lanes[len(self._loads)]
        try:
            await lane.connect()
            self._loads[lane] = 0
        except StatementFailed:
            pass  # those that are there go on; the next statement that has to wait tries again
        finally:
            self._growing = None
