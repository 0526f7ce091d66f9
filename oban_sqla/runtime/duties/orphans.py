"""The walk through orphans: rows that belong to jobs which are not there any more.

The pruner and :meth:`Oban.delete` delete what belongs to a job together with it. What another program's DELETE leaves
behind, or a run that told something while its job was deleted, is found by the leader, which walks slowly through the
tables beside the jobs: some jobs per statement, with a pause after each, so that the walk costs the database next to
nothing. A walk begins half an hour after the one before has ended, and at once on a new leader.
"""

from __future__ import annotations

import time

from ...models.belongings import BELONGINGS
from ...statements.belongings import orphans
from ...telemetry import leader_logger as logger
from ..lanes.lane import Lane
from .duty import Duty
from .leader import Leadership

WALK_EVERY = 1_800.0
"""Seconds from the end of a walk to the next one."""

PAGE = 500
"""Jobs that one statement looks at."""

REST = 9.0
"""How many times longer than a statement the pause after it is."""


class Orphans(Duty):
    """Deletes what belongs to no job.

    :param lane: the connection for duties that only a leader has.
    :param leadership: says whether this node leads.
    """

    name = "orphans"

    def __init__(self, *, lane: Lane, leadership: Leadership) -> None:
        super().__init__(lane=lane, leadership=leadership)
        # Given, and never written again.
        self._statements = [orphans(table) for table in BELONGINGS]
        # When, in monotonic seconds, the next walk begins, and where the present one is: written by lead() and
        # follow().
        self._walk_at = 0.0
        self._table = 0
        self._after = 0

    async def follow(self) -> float | None:
        self._walk_at, self._table, self._after = 0.0, 0, 0
        return None

    async def lead(self) -> float | None:
        # An election wakes it as well, and elections may come often.
        if (wait := self._walk_at - time.monotonic()) > 0:
            return wait
        began = time.monotonic()
        statement = self._statements[self._table]
        token = self._leadership.token
        [(last, looked, dropped)] = await self._lane.run(statement, after=self._after, limit=PAGE, **token)
        if dropped:
            name = BELONGINGS[self._table].name
            logger.info("deleted %d rows of %s whose jobs were deleted by another program", dropped, name)
        if looked == PAGE:
            self._after = last
            return max(REST * (time.monotonic() - began), 0.01)
        self._table, self._after = self._table + 1, 0
        if self._table < len(self._statements):
            return 0.01
        self._table, self._walk_at = 0, time.monotonic() + WALK_EVERY
        return WALK_EVERY
