"""The recorder: writes how deep the queues are, each minute, and forgets what the dashboard shows no more.

What ended is written by each node itself, see `measures`. Both are only for charts, so a minute that is missed is not
made up for. Entries of the audit are kept for 90 days, whether or not this node records.
"""

from __future__ import annotations

import time

from ...statements.audit import prune_audit
from ...statements.metrics import prune_metrics, write_depths
from ..lanes.lane import Lane
from .duty import Duty
from .leader import Leadership

MINUTE = 60
LONG = 600
"""Steps in seconds that are kept for hours, and for days."""
PRUNE_EVERY = 3_600.0
KEPT = 90 * 86_400
"""Seconds for which entries of the audit are kept."""
MOST = 10_000
"""Entries that one statement deletes."""


class Recorder(Duty):
    """Records depths, and prunes what is old.

    :param lane: the connection for duties that only a leader has.
    :param leadership: says whether this node leads.
    :param depths: whether it records depths.
    """

    name = "recorder"

    def __init__(self, *, lane: Lane, leadership: Leadership, depths: bool) -> None:
        super().__init__(lane=lane, leadership=leadership)
        # Given, and never written again.
        self._depths = depths
        # When it writes and prunes next, in monotonic seconds: written by lead().
        self._write_at = time.monotonic() + (MINUTE - time.time() % MINUTE)
        self._prune_at = time.monotonic() + PRUNE_EVERY

    async def lead(self) -> float | None:
        now = time.monotonic()
        if self._depths and now >= self._write_at:
            self._write_at = now + MINUTE
            steps = [MINUTE, LONG] if time.time() % LONG < MINUTE else [MINUTE]
            for step in steps:
                await self._lane.run(write_depths, step=step, **self._leadership.token)
        if now >= self._prune_at:
            self._prune_at = now + PRUNE_EVERY
            await self.prune()
        due = min(self._write_at, self._prune_at) if self._depths else self._prune_at
        return max(due - time.monotonic(), 0.001)

    async def prune(self) -> None:
        """Delete what is past its time."""
        await self._lane.run(prune_metrics, **self._leadership.token)
        while True:
            [(deleted,)] = await self._lane.run(prune_audit, seconds=KEPT, limit=MOST, **self._leadership.token)
            if deleted < MOST:
                return
