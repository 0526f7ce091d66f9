"""How many jobs ended over time, how long they ran, and how many waited.

It reads the rows that nodes write with ``Oban(metrics=True)``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from ..runtime.measures import PER_OCTAVE
from ..statements.insert import clock
from ..statements.metrics import depth_series
from ..statements.metrics import series as statement

OUTCOMES = ("completed", "retryable", "discarded", "cancelled")
PERIODS: Mapping[str, tuple[int, float]] = {"hour": (60, 3_600.0), "day": (600, 86_400.0)}
"""The periods: the seconds of a step, and of the whole period."""
LATE = 2
"""Steps at the end of a period whose rows may not be written yet."""


@dataclass(slots=True)
class Histogram:
    """How many durations fell into each bucket, see :mod:`oban_sqla.runtime.measures`."""

    counts: dict[int, int] = field(default_factory=dict[int, int])

    def add(self, buckets: Iterable[int], numbers: Iterable[int]) -> None:
        """Add the buckets of a row, each with its number of durations."""
        for one, number in zip(buckets, numbers, strict=False):
            self.counts[one] = self.counts.get(one, 0) + number

    def quantile(self, part: float) -> float | None:
        """The seconds that this part of the durations did not exceed; None without durations.

        :param part: from 0 to 1; 0.5 is the median.
        """
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
    """The jobs that ended within a step of time.

    :ivar at: when the step begins.
    :ivar ended: how many jobs ended, by outcome.
    :ivar run: how long they ran.
    :ivar wait: how long they had been due before they started.
    """

    at: datetime
    ended: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    run: Histogram = field(default_factory=Histogram)
    wait: Histogram = field(default_factory=Histogram)


@dataclass(frozen=True, slots=True)
class Series:
    """The jobs that ended in a period.

    :ivar steps: the steps of the period, the first one first.
    :ivar queues: how many jobs of each queue ended in each step.
    :ivar ran: how long the jobs of each queue ran.
    :ivar nodes: the nodes that wrote the rows.
    """

    steps: tuple[Step, ...]
    queues: Mapping[str, list[int]]
    ran: Mapping[str, Histogram]
    nodes: tuple[str, ...]

    @property
    def times(self) -> list[datetime]:
        """When the steps begin."""
        return [step.at for step in self.steps]

    def of(self, outcome: str) -> list[float]:
        """How many jobs ended with this outcome in each step."""
        return [float(step.ended[outcome]) for step in self.steps]

    def quantiles(self, part: float) -> list[float | None]:
        """The seconds that this part of the runs did not exceed, in each step."""
        return [step.run.quantile(part) for step in self.steps]


@dataclass(frozen=True, slots=True)
class Depth:
    """How many jobs were in each unfinished state.

    :ivar oldest: for how many seconds the first available job had waited; None when no job was available.
    """

    available: int
    scheduled: int
    retryable: int
    executing: int
    oldest: float | None


@dataclass(frozen=True, slots=True)
class Depths:
    """How many unfinished jobs a queue, or all queues together, had in a period.

    :ivar times: when the steps of the period begin.
    :ivar steps: what the leader wrote in each step; None where it wrote nothing.
    """

    times: tuple[datetime, ...]
    steps: tuple[Depth | None, ...]


def middle(number: int) -> float:
    """The seconds in the middle of a bucket."""
    return float(2 ** ((number + 0.5) / PER_OCTAVE)) / 1_000


def read(connection: Connection, period: str, queue: str | None = None) -> Series:
    """The jobs that ended in a period of :data:`PERIODS`.

    :param queue: only those of this queue. Default: of all queues.
    """
    step, seconds = PERIODS[period]
    times = _times(connection, period)
    count = len(times)
    steps = [Step(at) for at in times]
    queues: dict[str, list[int]] = {}
    ran: dict[str, Histogram] = {}
    nodes: set[str] = set()
    for found in connection.execute(statement(step, seconds, queue)):
        row: Any = found
        at: datetime = row.at
        place = round((at - times[0]).total_seconds() / step)
        nodes.add(row.node)
        if 0 <= place < count:
            _add(steps[place], row)
            queues.setdefault(row.queue, [0] * count)[place] += sum(getattr(row, name) for name in OUTCOMES)
            ran.setdefault(row.queue, Histogram()).add(row.run_at, row.run_n)
    # The newest steps are left out while nothing is written for them: they would look as if no job had ended.
    late = next((number for number in range(LATE) if any(steps[-1 - number].ended.values())), LATE) if nodes else 0
    kept = count - late
    ended = {name: numbers[:kept] for name, numbers in queues.items()}
    return Series(tuple(steps[:kept]), ended, ran, tuple(sorted(nodes)))


def read_depths(connection: Connection, period: str, queue: str | None = None) -> Depths | None:
    """How many unfinished jobs there were in a period of :data:`PERIODS`; None when the leader wrote nothing in it.

    :param queue: only those of this queue. Default: of all queues together.
    """
    step, seconds = PERIODS[period]
    times = _times(connection, period)
    steps: list[Depth | None] = [None] * len(times)
    for found in connection.execute(depth_series(step, seconds, queue)):
        row: Any = found
        at: datetime = row.at
        place = round((at - times[0]).total_seconds() / step)
        if 0 <= place < len(steps):
            steps[place] = Depth(row.available, row.scheduled, row.retryable, row.executing, row.oldest)
    if not any(steps):
        return None
    if steps[-1] is None:
        times, steps = times[:-1], steps[:-1]
    return Depths(tuple(times), tuple(steps))


def _times(connection: Connection, period: str) -> list[datetime]:
    step, seconds = PERIODS[period]
    now: datetime = clock.execute(connection).scalar_one()
    last = now.timestamp() // step * step
    count = int(seconds // step)
    return [datetime.fromtimestamp(last - (count - 1 - number) * step, UTC) for number in range(count)]


def _add(step: Step, row: Any) -> None:
    for name in OUTCOMES:
        step.ended[name] += getattr(row, name)
    step.run.add(row.run_at, row.run_n)
    step.wait.add(row.wait_at, row.wait_n)
