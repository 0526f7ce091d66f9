"""How long the jobs of a queue would have waited with another rate, computed from its rows."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection

from ..options.limits import RateLimit
from ..options.whole import whole_from
from ..statements.history import started

MOST = 100_000
"""Most jobs that are read."""


@dataclass(frozen=True, slots=True)
class Waits:
    """How long jobs wait from the time when they are due to their start, in seconds.

    :ivar median: half of the jobs wait at most this long.
    :ivar p95: 95 % of the jobs wait at most this long.
    :ivar longest: no job waits longer.
    """

    median: float
    p95: float
    longest: float


@dataclass(frozen=True, slots=True)
class Simulation:
    """What a rate would have done to the jobs of a queue.

    :ivar jobs: how many jobs were read. Only the last attempt of each counts.
    :ivar is_cut: whether there were more.
    :ivar held: how many jobs the rate would have held back.
    :ivar busiest: the highest cost of the starts within any period of the rate, as the jobs really started.
    :ivar now: how long the jobs waited.
    :ivar then: how long they would have waited because of the rate alone.
    """

    jobs: int
    is_cut: bool
    held: int
    busiest: int
    now: Waits
    then: Waits

    def as_dict(self) -> dict[str, Any]:
        """The simulation as a dict that ``json.dumps`` accepts."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Job:
    due: float
    began: float
    cost: int
    key: str | None


def simulate(connection: Connection, queue: str, rate: RateLimit, *, last: float, by: Sequence[str] = ()) -> Simulation:
    """Compute when the jobs of the `last` seconds would have started with `rate`, in the order in which they were due.

    :param by: the fields of a partition, if each of its keys has the rate. Default: the queue has the rate.
    """
    rows = started.execute(connection, queue=queue, seconds=last, by=list(by), most=MOST + 1).all()
    jobs = [_Job(row.due, row.began, _cost(row.weight, rate.allowed), row.key) for row in rows[:MOST]]
    waits = [start - job.due for start, job in _starts(jobs, rate)]
    return Simulation(
        jobs=len(jobs),
        is_cut=len(rows) > MOST,
        held=sum(wait > 0 for wait in waits),
        busiest=_busiest(jobs, rate.seconds),
        now=_waits([max(job.began - job.due, 0.0) for job in jobs]),
        then=_waits(waits),
    )


def _starts(jobs: Iterable[_Job], rate: RateLimit) -> list[tuple[float, _Job]]:
    """When each job would have started."""
    period, interval = rate.seconds, rate.seconds / rate.allowed
    log: defaultdict[str | None, deque[tuple[float, int]]] = defaultdict(deque)
    used: defaultdict[str | None, int] = defaultdict(int)
    full_at: defaultdict[str | None, float] = defaultdict(float)
    last: defaultdict[str | None, float] = defaultdict(float)
    starts: list[tuple[float, _Job]] = []
    for job in sorted(jobs, key=lambda job: job.due):
        key = job.key
        at = max(job.due, last[key])
        if rate.algorithm == "token_bucket":
            at = max(at, full_at[key] - period + job.cost * interval)
            full_at[key] = max(full_at[key], at) + job.cost * interval
        else:
            while log[key] and (log[key][0][0] + period <= at or used[key] + job.cost > rate.allowed):
                began, cost = log[key].popleft()
                used[key] -= cost
                at = max(at, began + period)
            log[key].append((at, job.cost))
            used[key] += job.cost
        last[key] = at
        starts.append((at, job))
    return starts


def _busiest(jobs: Iterable[_Job], period: float) -> int:
    """The highest cost of the jobs of one key within any `period` of seconds."""
    windows: defaultdict[str | None, deque[_Job]] = defaultdict(deque)
    totals: defaultdict[str | None, int] = defaultdict(int)
    most = 0
    for job in sorted(jobs, key=lambda job: job.began):
        window = windows[job.key]
        while window and window[0].began <= job.began - period:
            totals[job.key] -= window.popleft().cost
        window.append(job)
        totals[job.key] += job.cost
        most = max(most, totals[job.key])
    return most


def _waits(given: list[float]) -> Waits:
    ordered = sorted(given) or [0.0]
    return Waits(_share(ordered, 0.5), _share(ordered, 0.95), ordered[-1])


def _share(ordered: Sequence[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def _cost(weight: str | None, allowed: int) -> int:
    number = whole_from(weight)
    return 1 if number is None else min(max(number, 1), allowed)
