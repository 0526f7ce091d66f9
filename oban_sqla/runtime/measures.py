"""What ends on this node, for charts: counted in memory, and written for each minute in which anything did.

The present minute, ten minutes and hour are kept; each is written as a whole just after each minute and at the stop, so
a repeated statement does no harm, and a process that is killed loses at most a minute. Idle queues write nothing.
"""

from __future__ import annotations

import json
import random
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable
from datetime import timedelta
from operator import add
from typing import Any
from uuid import uuid4

from ..statements.metrics import STEPS, write_metrics
from ..telemetry import node_logger as logger
from .acks import Ack
from .lanes.failure import StatementFailed
from .lanes.lane import Lane
from .loop import Loop
from .row import Row

MINUTE = 60.0
LATEST = 5.0
"""Seconds after the minute within which the nodes write, so that not all do so at once."""
PER_OCTAVE = 4
"""Buckets of a histogram between a duration and its double."""

LARGEST = 127
"""The last bucket, in which a duration of a month is, and every longer one."""

BOUNDS = [0.001 * 2 ** (number / PER_OCTAVE) for number in range(1, LARGEST + 1)]
"""Seconds at which each bucket after the first begins."""

EXACT = 1_000
"""Runs of a queue in a minute of which each is timed. Of those that follow one in :data:`SAMPLE` is, and counts for so
many; how they ended is counted of each."""

SAMPLE = 8
"""For how many runs one counts that is timed, where not all are."""

_WAITS = [timedelta(seconds=bound) for bound in BOUNDS]
"""The same as a wait is given. To look for it among them is cheaper than to make seconds of it."""

_OUTCOMES = {
    "completed": "completed", "retryable": "retryable", "discarded": "discarded", "cancelled": "cancelled",
    "scheduled": "snoozed",
}  # fmt: skip
"""As what a run counts, by the state that it leaves its job in."""


class _Counts:
    """What ended in a queue within some time: runs by the state that they leave, and by the buckets of their durations.

    A run is counted at once: to keep many runs and count them together has cost a drain more.
    """

    __slots__ = ("busy", "ended", "fresh", "run", "untimed", "wait", "weight")

    def __init__(self) -> None:
        self.ended = dict.fromkeys(_OUTCOMES, 0)
        self.busy = 0.0
        self.run = [0] * (LARGEST + 1)
        self.wait = [0] * (LARGEST + 1)
        # For how many runs the next one counts that is timed, and how many come before it.
        self.weight = 1
        self.untimed = 0
        # Whether something has been counted since it was last written.
        self.fresh = True

    def time(self, seconds: float, waited: timedelta) -> None:
        """Count a run's duration, and how long it waited before."""
        self.busy += seconds * self.weight
        self.run[bisect_right(BOUNDS, seconds)] += self.weight
        self.wait[bisect_right(_WAITS, waited)] += self.weight
        if self.weight == SAMPLE:
            self.untimed = int(random.random() * (2 * SAMPLE - 1))  # at random: kinds of jobs may take turns
        elif sum(self.ended.values()) >= EXACT:
            self.weight = SAMPLE

    def add(self, other: _Counts) -> None:
        """Count what `other` has counted."""
        for state, number in other.ended.items():
            self.ended[state] += number
        self.busy += other.busy
        self.run = [*map(add, self.run, other.run)]
        self.wait = [*map(add, self.wait, other.wait)]
        self.fresh = True


class Measures(Loop):
    """Counts what ends, and writes it.

    :param lane: the connection to write on.
    :param node: the node's name.
    :param counts: whether it counts at all.
    """

    name = "measures"

    def __init__(self, *, lane: Lane, node: str, counts: bool) -> None:
        super().__init__()
        self.told: Callable[[Row, Ack, float], None] | None = self.count if counts else None
        """What is to be told of each run; None where it does not count."""
        # Given, and never written again.
        self._lane = lane
        self._node = node
        self._origin = str(uuid4())
        # What ended in the present minute, by queue: written by count() and _fold().
        self._present: dict[str, _Counts] = {}
        # When it began, and by the monotonic clock when it ends: written by count(), and anew after each _fold().
        self._at = self._until = 0.0
        # By step, its beginning and the queue: written by _fold() and _write().
        self._counts: dict[tuple[int, int, str], _Counts] = {}

    def count(self, row: Row, ack: Ack, began: float) -> None:
        """A run of a job has ended.

        :param began: when it did, by the monotonic clock.
        """
        if ack.state not in _OUTCOMES:
            return
        counts = self._present.get(row.queue)
        if counts is not None and counts.untimed:
            counts.untimed -= 1
            counts.ended[ack.state] += 1
            return
        if (now := time.monotonic()) >= self._until:
            self._fold()
            clock = time.time()
            self._at = clock // MINUTE * MINUTE
            self._until = now + self._at + MINUTE - clock
            counts = None
        if counts is None:
            counts = self._present.setdefault(row.queue, _Counts())
        counts.ended[ack.state] += 1
        counts.time(now - began, row.attempted_at - row.scheduled_at)

    def _fold(self) -> None:
        """Count what ended in the present minute in all steps that it is a part of."""
        for queue, counts in self._present.items():
            for step in STEPS:
                self._counts.setdefault((step, int(self._at // step * step), queue), _Counts()).add(counts)
        self._present.clear()
        self._until = 0.0

    async def step(self) -> float | None:
        if self.told is None:
            return None
        if self._counts or self._present:
            await self._write()
        now = time.time()
        return now // MINUTE * MINUTE + MINUTE - now + random.uniform(0.5, LATEST)

    async def stop(self) -> None:
        """End, and write what was counted since the last minute."""
        await super().stop()
        try:
            await self._write()
        except StatementFailed as error:
            logger.warning("could not write the last minute of the metrics: %s", error)

    async def _write(self) -> None:
        self._fold()
        writing = {key: counts for key, counts in self._counts.items() if counts.fresh}
        if not writing:
            return
        for counts in writing.values():
            counts.fresh = False
        try:
            await self._lane.run(write_metrics, rows=json.dumps(list(self._rows(writing.items()))))
        except BaseException:
            for counts in writing.values():
                counts.fresh = True
            raise
        now = time.time()
        for key in [key for key, counts in self._counts.items() if not counts.fresh and key[1] + key[0] <= now]:
            del self._counts[key]

    def _rows(self, counts: Iterable[tuple[tuple[int, int, str], _Counts]]) -> Iterable[dict[str, Any]]:
        for (step, at, queue), of in counts:
            yield {
                "step": step, "at": at, "queue": queue, "origin": self._origin, "node": self._node, "busy": of.busy,
                **{_OUTCOMES[state]: number for state, number in of.ended.items()},
                "run_at": _used(of.run), "run_n": [*filter(None, of.run)],
                "wait_at": _used(of.wait), "wait_n": [*filter(None, of.wait)],
            }  # fmt: skip


def bucket(seconds: float) -> int:
    """The number of the bucket of a duration: four for each doubling, from a millisecond on."""
    return bisect_right(BOUNDS, seconds)


def _used(histogram: list[int]) -> list[int]:
    """The buckets in which anything is."""
    return [place for place, number in enumerate(histogram) if number]
