"""What ended over time, and how long it took: from the rows that nodes write with ``Oban(metrics=True)``."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from ..runtime.measures import PER_OCTAVE
from ..statements.metrics import series as statement

OUTCOMES = ("completed", "retryable", "discarded", "cancelled")
PERIODS: Mapping[str, tuple[int, float]] = {"hour": (60, 3_600.0), "day": (600, 86_400.0)}
"""Periods of time: seconds of a step, and of the whole."""


@dataclass(slots=True)
class Histogram:
    """How many durations fell into each bucket, see `measures`."""

    counts: dict[int, int] = field(default_factory=dict[int, int])

    def add(self, buckets: Iterable[int], numbers: Iterable[int]) -> None:
        """Add those of a row."""
        for one, number in zip(buckets, numbers, strict=False):
            self.counts[one] = self.counts.get(one, 0) + number

    def quantile(self, part: float) -> float | None:
        """The seconds within which this part of the durations was; None when there was none."""
        total = sum(self.counts.values())
        if not total:
            return None
        left = part * total
        for one in sorted(self.counts):
            left -= self.counts[one]
            if left <= 0:
                return middle(one)
        return middle(max(self.counts))


@dataclass(slots=True)
class Step:
    """What ended within a step of time.

    :ivar at: when it begins.
    :ivar ended: how many jobs, by outcome.
    :ivar run: how long they ran.
    :ivar wait: for how long they had been due.
    """

    at: datetime
    ended: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    run: Histogram = field(default_factory=Histogram)
    wait: Histogram = field(default_factory=Histogram)


@dataclass(frozen=True, slots=True)
class Series:
    """What ended in a period.

    :ivar steps: all of its steps, the first one first.
    :ivar queues: how many jobs of each queue ended in each step.
    :ivar nodes: the nodes that wrote it.
    """

    steps: tuple[Step, ...]
    queues: Mapping[str, list[int]]
    nodes: tuple[str, ...]

    @property
    def times(self) -> list[datetime]:
        """When the steps begin."""
        return [step.at for step in self.steps]

    def of(self, outcome: str) -> list[float]:
        """How many jobs ended like this in each step."""
        return [float(step.ended[outcome]) for step in self.steps]

    def quantiles(self, part: float) -> list[float | None]:
        """Within how many seconds this part of the jobs ran, in each step."""
        return [step.run.quantile(part) for step in self.steps]


def middle(number: int) -> float:
    """The seconds in the middle of a bucket."""
    return float(2 ** ((number + 0.5) / PER_OCTAVE)) / 1_000


def read(connection: Connection, period: str, queue: str | None = None) -> Series:
    """What ended in a period of :data:`PERIODS`.

    :param queue: of this queue. Default: of all.
    """
    step, seconds = PERIODS[period]
    last = time.time() // step * step
    count = int(seconds // step)
    first = last - (count - 1) * step
    steps = [Step(datetime.fromtimestamp(first + number * step, UTC)) for number in range(count)]
    queues: dict[str, list[int]] = {}
    nodes: set[str] = set()
    for found in connection.execute(statement(step, seconds, queue)):
        row: Any = found
        place = round((float(row.at.timestamp()) - first) / step)
        nodes.add(row.node)
        if 0 <= place < count:
            _add(steps[place], row)
            queues.setdefault(row.queue, [0] * count)[place] += sum(getattr(row, name) for name in OUTCOMES)
    return Series(tuple(steps), queues, tuple(sorted(nodes)))


def _add(step: Step, row: Any) -> None:
    for name in OUTCOMES:
        step.ended[name] += getattr(row, name)
    step.run.add(row.run_at, row.run_n)
    step.wait.add(row.wait_at, row.wait_n)
