"""What ends on this node, for charts: counted in memory, and written for each minute in which anything did.

The present minute, ten minutes and hour are kept; each is written as a whole just after each minute and at the stop, so
a repeated statement does no harm, and a process that is killed loses at most a minute. Idle queues write nothing.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
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

_OUTCOMES = {"completed": "completed", "retryable": "retryable", "discarded": "discarded", "cancelled": "cancelled",
             "scheduled": "snoozed"}  # fmt: skip


@dataclass(slots=True)
class _Counts:
    """What ended in a queue within a step."""

    ended: dict[str, int] = field(default_factory=dict[str, int])
    busy: float = 0.0
    run: dict[int, int] = field(default_factory=dict[int, int])
    wait: dict[int, int] = field(default_factory=dict[int, int])
    fresh: bool = True
    """Whether something has been counted since it was last written."""


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
        # By step, its beginning and the queue: written by count() and _write().
        self._counts: dict[tuple[int, int, str], _Counts] = {}
        # Until when the keys of `_now` are the present ones: written by count().
        self._until = 0.0
        self._present: list[tuple[int, int]] = []

    def count(self, row: Row, ack: Ack, seconds: float) -> None:
        """A run of a job has ended.

        :param seconds: for how long it ran.
        """
        if (outcome := _OUTCOMES.get(ack.state)) is None:
            return
        now = time.time()
        if now >= self._until:
            self._present = [(step, int(now // step * step)) for step in STEPS]
            self._until = now // MINUTE * MINUTE + MINUTE
        ran, waited = bucket(seconds), bucket((row.attempted_at - row.scheduled_at).total_seconds())
        for step, at in self._present:
            counts = self._counts.get((step, at, row.queue))
            if counts is None:
                counts = self._counts[step, at, row.queue] = _Counts()
            counts.ended[outcome] = counts.ended.get(outcome, 0) + 1
            counts.busy += seconds
            counts.run[ran] = counts.run.get(ran, 0) + 1
            counts.wait[waited] = counts.wait.get(waited, 0) + 1
            counts.fresh = True

    async def step(self) -> float | None:
        if self.told is None:
            return None
        if self._counts:
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
                **{name: of.ended.get(name, 0) for name in _OUTCOMES.values()},
                "run_at": sorted(of.run), "run_n": [of.run[one] for one in sorted(of.run)],
                "wait_at": sorted(of.wait), "wait_n": [of.wait[one] for one in sorted(of.wait)],
            }  # fmt: skip


def bucket(seconds: float) -> int:
    """The number of the bucket of a duration: four for each doubling, from a millisecond on."""
    return 0 if seconds <= 0.001 else math.floor(PER_OCTAVE * math.log2(seconds * 1_000))
