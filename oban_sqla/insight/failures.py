"""Failed jobs in groups: those of a worker whose last errors say the same but for numbers.

Grouped in Python from the ends of the newest errors: a regular expression in SQL would take thirty times as long.
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
"""Jobs of each kind that are looked at."""
WINDOW = 20_000
TAIL = 300
"""Characters of the end of each error that are read."""
HOUR = 3_600.0
STEPS = 30

_NUMBERS = re.compile(r"0x[0-9a-fA-F]+|\b[0-9a-f]{8}-[0-9a-f-]{27}\b|\d+")


@dataclass(slots=True)
class Failure:
    """Jobs of a worker that failed alike.

    :ivar worker: its name.
    :ivar signature: what their last errors say, with ``#`` for each number.
    :ivar error: what the newest says, in one line.
    :ivar newest: the id of the job that failed last.
    :ivar age: seconds since then.
    :ivar first: seconds since the first of them failed, of those that are looked at.
    :ivar ages: when each job failed, in seconds before now.
    :ivar jobs: the ids, by state: ``discarded`` and ``retryable``.
    :ivar queues: their queues.
    :ivar hour: how many failed in each of the last thirty parts of an hour, the oldest first.
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
        """How many jobs."""
        return sum(map(len, self.jobs.values()))

    @property
    def ids(self) -> list[int]:
        """The ids of all of them."""
        return sorted(id for ids in self.jobs.values() for id in ids)

    def newest_ids(self, most: int) -> list[int]:
        """The ids of those that failed last, the newest first."""
        return heapq.nsmallest(most, self.ages, key=self.ages.__getitem__)


@dataclass(frozen=True, slots=True)
class Failures:
    """The failed jobs.

    :ivar groups: those with the most failures of the last hour first, then by their number.
    :ivar looked: at how many jobs it looked.
    :ivar cut: whether there may be older ones.
    """

    groups: tuple[Failure, ...]
    looked: int
    cut: bool

    def find(self, worker: str, signature: str) -> Failure | None:
        """The group of that worker and signature."""
        return next((one for one in self.groups if (one.worker, one.signature) == (worker, signature)), None)

    def of(self, id: int) -> Failure | None:
        """The group of a job; None for a job that was not looked at."""
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
            error = "…" + error  # its beginning is not among what was read
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
