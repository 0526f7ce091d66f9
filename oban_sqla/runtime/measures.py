"""What ends on this node, for charts: counted in memory, and written for each minute in which anything did.

The present minute, ten minutes and hour are kept; each is written as a whole just after each minute and at the stop, so
a repeated statement does no harm, and a process that is killed loses at most a minute. Idle queues write nothing.
"""

from __future__ import annotations

import json
import random
import time
from bisect import bisect_left, bisect_right
from collections import Counter
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

MOST = 1_000
"""Ends that are kept one by one before they are counted. To count them together costs a third."""

_NAMES = ("completed", "retryable", "discarded", "cancelled", "snoozed")
_OUTCOMES = {"completed": 0, "retryable": 1, "discarded": 2, "cancelled": 3, "scheduled": 4}
"""Which of the names a run has to be counted under, by the state that it leaves its job in."""


class _Ended:
    """What has ended in a queue and is not counted yet: of each run its state, seconds and wait."""

    __slots__ = ("ran", "states", "waited")

    def __init__(self) -> None:
        self.states: list[str] = []
        self.ran: list[float] = []
        self.waited: list[timedelta] = []


class _Counts:
    """What ended in a queue within some time. By the place of the outcome, and of the bucket."""

    __slots__ = ("busy", "ended", "fresh", "run", "wait")

    def __init__(self) -> None:
        self.ended = [0] * len(_NAMES)
        self.busy = 0.0
        self.run: Counter[int] = Counter()
        self.wait: Counter[int] = Counter()
        # Whether something has been counted since it was last written.
        self.fresh = True

    def count(self, ended: _Ended) -> None:
        """Count what has ended."""
        for state, number in Counter(ended.states).items():
            self.ended[_OUTCOMES[state]] += number
        self.busy += sum(ended.ran)
        self.run.update(_histogram(sorted(ended.ran)))
        self.wait.update(_histogram(sorted(map(timedelta.total_seconds, ended.waited))))

    def add(self, other: _Counts) -> None:
        """Count what `other` has counted."""
        self.ended = [*map(add, self.ended, other.ended)]
        self.busy += other.busy
        self.run.update(other.run)
        self.wait.update(other.wait)
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
        # What ended since `_at`, the beginning of a minute, by queue: written by count() and _fold().
        self._present: dict[str, _Ended] = {}
        self._at = self._until = 0.0
        # By step, its beginning and the queue: written by _fold() and _write().
        self._counts: dict[tuple[int, int, str], _Counts] = {}

    def count(self, row: Row, ack: Ack, seconds: float) -> None:
        """A run of a job has ended.

        :param seconds: for how long it ran.
        """
        if ack.state not in _OUTCOMES:
            return
        if (now := time.time()) >= self._until:
            self._fold()
            self._at = now // MINUTE * MINUTE
            self._until = self._at + MINUTE
        ended = self._present.get(row.queue)
        if ended is None:
            ended = self._present[row.queue] = _Ended()
        ended.states.append(ack.state)
        ended.ran.append(seconds)
        ended.waited.append(row.attempted_at - row.scheduled_at)
        if len(ended.ran) >= MOST:
            self._fold()

    def _fold(self) -> None:
        """Count what ended in the present minute, in all steps that it is a part of."""
        for queue, ended in self._present.items():
            counts = _Counts()
            counts.count(ended)
            for step in STEPS:
                self._counts.setdefault((step, int(self._at // step * step), queue), _Counts()).add(counts)
        self._present.clear()

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
                **dict(zip(_NAMES, of.ended, strict=True)),
                "run_at": list(of.run), "run_n": list(of.run.values()),
                "wait_at": list(of.wait), "wait_n": list(of.wait.values()),
            }  # fmt: skip


def bucket(seconds: float) -> int:
    """The number of the bucket of a duration: four for each doubling, from a millisecond on."""
    return bisect_right(BOUNDS, seconds)


def _histogram(durations: list[float]) -> dict[int, int]:
    """How many of the durations, which are in order, are in each bucket: they are many, and in few buckets."""
    found: dict[int, int] = {}
    done = 0
    while done < len(durations):
        place = bucket(durations[done])
        end = bisect_left(durations, BOUNDS[place], done) if place < LARGEST else len(durations)
        found[place] = end - done
        done = end
    return found
