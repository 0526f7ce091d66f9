"""Failed jobs in groups: the jobs of a worker whose last errors differ only in numbers.

Python groups them by the ends of the newest errors. A regular expression in SQL would take thirty times as long.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from ..statements.glance import failures as statement
from ..telemetry.gist import gist

MOST = 5_000
"""Most jobs of each state that are read."""
WINDOW = 20_000
"""The first scheduled and retryable jobs, among which the retryable ones are sought."""
TAIL = 300
"""Characters of the end of each error that are read."""
HOUR = 3_600.0
STEPS = 30
"""Parts of the last hour in which failures are counted."""

_NUMBERS = re.compile(r"0x[0-9a-fA-F]+|\b[0-9a-f]{8}-[0-9a-f-]{27}\b|\d+")


@dataclass(slots=True)
class Failure:
    """Jobs of a worker that failed in the same way.

    :ivar worker: the name of the worker.
    :ivar signature: the text of their last errors, with ``#`` for each number.
    :ivar error: the newest of these errors, in one line.
    :ivar newest: the id of the job that failed last.
    :ivar age: seconds since that job failed.
    :ivar first: seconds since the first of the jobs failed.
    :ivar ages: seconds since each job failed, by id.
    :ivar jobs: the ids of the jobs, by state: ``discarded`` and ``retryable``.
    :ivar queues: the queues of the jobs.
    :ivar hour: how many jobs failed in each of the :data:`STEPS` parts of the last hour, the oldest part first.
    """

    worker: str
    signature: str
    error: str
    newest: int
    age: float
    first: float = 0.0
    ages: dict[int, float] = field(default_factory=dict[int, float])
    jobs: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    queues: set[str] = field(default_factory=set[str])
    hour: list[int] = field(default_factory=lambda: [0] * STEPS)

    @property
    def number(self) -> int:
        """How many jobs there are."""
        return sum(map(len, self.jobs.values()))

    @property
    def ids(self) -> list[int]:
        """The ids of all jobs."""
        return sorted(id for ids in self.jobs.values() for id in ids)

    def newest_ids(self, most: int) -> list[int]:
        """The ids of the jobs that failed last, the newest first."""
        return heapq.nsmallest(most, self.ages, key=self.ages.__getitem__)


@dataclass(frozen=True, slots=True)
class Failures:
    """The failed jobs.

    :ivar groups: the groups, ordered by their failures in the last hour, then by their jobs, the most first.
    :ivar looked: how many jobs were read.
    :ivar cut: whether there may be older ones.
    """

    groups: tuple[Failure, ...]
    looked: int
    cut: bool

    def find(self, worker: str, signature: str) -> Failure | None:
        """The group of a worker and a signature."""
        return next((one for one in self.groups if (one.worker, one.signature) == (worker, signature)), None)

    def of(self, id: int) -> Failure | None:
        """The group of a job; None for a job that was not read."""
        return next((one for one in self.groups if id in one.ages), None)


def read(connection: Connection) -> Failures:
    """The newest discarded jobs, and those that will be retried soonest, in groups."""
    rows = statement.execute(connection, most=MOST, window=WINDOW).all()
    per_state = [sum(row.state == name for row in rows) for name in ("discarded", "retryable")]
    return Failures(tuple(_grouped(rows)), len(rows), max(per_state) >= MOST)


def signature(error: str) -> str:
    """`error`, with ``#`` for each number."""
    return _NUMBERS.sub("#", error)[:200]


def _grouped(rows: Iterable[Any]) -> list[Failure]:
    groups: dict[tuple[str, str], Failure] = {}
    for row in rows:
        error = gist(row.tail) or "(no message)"
        key = (row.worker, signature(error))
        if len(row.tail or "") >= TAIL and row.tail.startswith(error):
            error = "…" + error  # its beginning was not read
        age = max(row.age, 0.0) if row.age is not None else float("inf")
        if (group := groups.get(key)) is None:
            group = groups[key] = Failure(*key, error, row.id, age)
        elif age < group.age:
            group.error, group.newest, group.age = error, row.id, age
        group.first = max(group.first, age if row.age is not None else 0.0)
        group.ages[row.id] = age
        group.jobs.setdefault(row.state, []).append(row.id)
        group.queues.add(row.queue)
        if age < HOUR:
            group.hour[STEPS - 1 - int(age / HOUR * STEPS)] += 1
    return sorted(groups.values(), key=lambda one: (-sum(one.hour), -one.number, one.worker, one.signature))
