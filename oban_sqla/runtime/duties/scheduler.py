"""The scheduler: makes a job of every tick of the crontab, once in the cluster.

It sleeps until the next tick by the database's clock, and reads the entries again when they were edited, at least
every five seconds. A tick is the planned instant, never the time at which it is noticed; it is taken and its job is
inserted in one transaction, so that a leader that dies in between leaves both to its successor, and two leaders at
once make one job. A clock that steps back makes nothing twice: ticks are taken in ascending order only.

* **Late.** A tick that comes up to a minute late is run: that is longer than a change of leaders takes. After more it
  is missed; an entry with ``catch_up`` then runs the last one, once.
* **@reboot** is run when a node leads that was started after the entry last ran. So it is not run again when the lead
  passes to a node that was there already. (In Oban every node runs it when it leads for the first time.)
* **Entries in the code** are written by every node at its start, and confirmed once a minute. One that no node has
  confirmed for five minutes was taken out of the code, and is inactive.

Telemetry: the span ``oban.scheduler.evaluate`` with ``enqueued_count``, when ticks are due.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from ... import telemetry
from ...enqueueing.writer import write
from ...errors import InvalidOption
from ...options.schedule import schedule
from ...statements.cron import declare, entries, keep_declared, set_back, take
from ...telemetry.database_error import described
from ...types import naive_utc
from ...workers.cron import Cron, by_name, copied, notes
from ...workers.registry import workers
from ..lanes.bounded import bounded
from ..lanes.lane import STATEMENT_TIMEOUT, Lane
from .duty import Duty
from .leader import Leadership

REREAD = 5.0
"""Seconds after which the entries are read again, without any notification."""

LATE = 60.0
"""Seconds that a tick may come late."""

CONFIRM_EVERY = 60.0
"""Seconds after which a node says again which entries its code has."""

TRY_AGAIN = 30.0
"""Seconds for which an entry is left to nodes that can read it."""

AHEAD = 300.0
"""Seconds. An entry that is settled further ahead was so by a clock that was wrong. Where a clock steps back by less,
ticks are taken in ascending order all the same."""

LIFETIME = 300.0
"""Seconds after which an entry of the code that no node has confirmed is inactive."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry as the scheduler reads it."""

    name: str
    expression: str
    timezone: str
    catch_up: bool
    settled: float
    """No tick up to this time is still to be taken; seconds since 1970."""

    def due(self, now: datetime, started: datetime) -> Iterator[tuple[datetime, datetime]]:
        """The ticks to be taken now, ascending, each with the time before which everything must be settled."""
        plan = schedule(self.expression, self.timezone)
        settled = _instant(self.settled)
        if plan.reboot:
            if settled <= started:
                yield now, started + timedelta(microseconds=1)
            return
        ticks = list(plan.between(max(settled, now - timedelta(seconds=LATE)), now))
        if not ticks and self.catch_up and (missed := plan.last(settled, now)) is not None:
            ticks = [missed]
        for tick in ticks:
            yield tick, tick

    def next(self, now: datetime) -> datetime | None:
        """When the entry is due next."""
        return schedule(self.expression, self.timezone).next(max(now, _instant(self.settled)))


class Scheduler(Duty):
    """Takes the ticks as the leader, and keeps the entries of its code declared as any node.

    :param lane: to read on.
    :param leadership: says whether this node leads.
    :param engine: to insert jobs with; its pool is emptied after each round of ticks.
    :param own: gives the entries that this node has in its code, by name.
    """

    name = "scheduler"

    def __init__(
        self, *, lane: Lane, leadership: Leadership, engine: AsyncEngine, own: Callable[[], Mapping[str, Cron]]
    ) -> None:
        super().__init__(lane=lane, leadership=leadership)
        # Given, and never written again.
        self._engine = engine
        self._own = own
        # The names of the entries that were declared, and when they are to be confirmed: written by _declare().
        self._declared: frozenset[str] = frozenset()
        self._confirm_at = 0.0
        # When this node was started, by the database's clock: written by prepare().
        self._started: datetime | None = None
        # Entries that this node can't read, each with the time of the next try: written by _leave_to_others().
        self._unreadable: dict[str, float] = {}
        # Whether another node should lead, because of an entry that was met first: set by _leave_to_others(),
        # cleared by lead().
        self._gives_way = False

    async def prepare(self) -> datetime:
        """Declare the entries of the code. Returns when this node was started, by the database's clock."""
        await self._declare()
        # After declaring: an entry that this start has brought is settled up to its start, not beyond.
        self._started, _ = await self.read()
        return self._started

    async def step(self) -> float | None:
        if self._started is None:
            await self.prepare()
        await self._declare()
        return await super().step()

    async def follow(self) -> float | None:
        return max(self._confirm_at - time.monotonic(), 0.0) if self._declared else None

    async def lead(self) -> float | None:
        started = self._started or await self.prepare()
        now, found = await self.read()
        found = [await self._set_back(entry, now) for entry in found if not self._is_left(entry)]
        if due := [*self._due(now, started, found)]:
            try:
                with telemetry.span("oban.scheduler.evaluate", enqueued_count=0) as told:
                    await self._take_all(due, told)
            finally:
                await self._engine.dispose()
        if self._gives_way:
            self._gives_way = False
            await self._leadership.resign()
            return REREAD
        readable = [entry for entry in found if not self._is_left(entry)]
        nexts = [tick for entry in readable if (tick := entry.next(now)) is not None]
        return min(REREAD, max((min(nexts) - now).total_seconds(), 0.001)) if nexts else REREAD

    async def read(self) -> tuple[datetime, list[Entry]]:
        """The time by the database's clock, and the entries that are active."""
        rows = await self._lane.run(entries, lifetime=LIFETIME)
        return _instant(rows[0][0]), [Entry(*row[1:]) for row in rows if row[1] is not None]

    async def _declare(self) -> None:
        own = self._own()
        if own.keys() - self._declared:
            rows = [cron.row() | {"name": name} for name, cron in own.items()]
            await self._lane.run(declare, **{key: [row[key] for row in rows] for key in rows[0]})
            self._declared = frozenset(own)
        elif not own or time.monotonic() < self._confirm_at:
            return
        else:
            await self._lane.run(keep_declared, names=list(own), every=CONFIRM_EVERY / 2)
        self._confirm_at = time.monotonic() + CONFIRM_EVERY

    def _due(self, now: datetime, started: datetime, found: list[Entry]) -> Iterator[tuple[Entry, datetime, datetime]]:
        for entry in found:
            try:
                for tick, before in entry.due(now, started):
                    yield entry, tick, before
            except (InvalidOption, OverflowError) as error:
                self._leave_to_others(entry, error)

    def _is_left(self, entry: Entry) -> bool:
        return self._unreadable.get(entry.name, 0.0) > time.monotonic()

    def _leave_to_others(self, entry: Entry, error: Exception) -> None:
        """Take none of its ticks for a while. The first time, let another node lead, which may be able to read it."""
        if entry.name not in self._unreadable:
            telemetry.cron_logger.error("cron entry %r is left to nodes that can read it: %s", entry.name, error)
            self._gives_way = True
        self._unreadable[entry.name] = time.monotonic() + TRY_AGAIN

    async def _set_back(self, entry: Entry, now: datetime) -> Entry:
        """`entry`, as if its ticks had been taken up to now, where they were taken by a clock that was far ahead."""
        if math.isinf(entry.settled) or entry.settled - now.timestamp() <= AHEAD:
            return entry
        await self._lane.run(set_back, name=entry.name, now=naive_utc(now), **self._leadership.token)
        telemetry.cron_logger.warning(
            "cron entry %r had ticks up to %s, because the database's clock was ahead; it goes on from now",
            entry.name, _instant(entry.settled),
        )  # fmt: skip
        return replace(entry, settled=now.timestamp())

    async def _take_all(self, due: list[tuple[Entry, datetime, datetime]], told: dict[str, Any]) -> None:
        failed: Exception | None = None
        for entry, tick, before in due:
            if not self._leadership.leads:
                break
            try:
                made = await bounded(self._engine, STATEMENT_TIMEOUT, partial(self._take_on, entry, tick, before))
                told["enqueued_count"] = told.get("enqueued_count", 0) + made
            except _Unreadable as error:  # the tick was not taken
                self._leave_to_others(entry, error)
            except Exception as error:
                # The others are due as well. It is tried again: what was not committed is still to be taken.
                telemetry.cron_logger.warning(
                    "cron entry %r: tick %s failed, trying again: %s", entry.name, tick, described(error)
                )
                failed = error
        if failed is not None:
            raise failed

    async def _take_on(self, entry: Entry, tick: datetime, before: datetime, connection: AsyncConnection) -> int:
        async with AsyncSession(connection) as session, session.begin():
            return await session.run_sync(self._take, entry, tick, before)

    def _take(self, session: Session, entry: Entry, tick: datetime, before: datetime) -> int:
        """Take the tick and insert its job, in the session's transaction. Returns the number of new jobs.

        :raises _Unreadable: when no job can be made of the entry here.
        """
        spec = take.execute(
            session.connection(),
            **self._leadership.token,
            name=entry.name,
            expression=entry.expression,
            timezone=entry.timezone,
            tick=naive_utc(tick),
            before=naive_utc(before),
        ).scalar_one_or_none()
        if spec is None:
            return 0
        try:
            job = copied(spec, notes(entry.name, entry.expression, entry.timezone, tick), tick)
        except InvalidOption as error:
            raise _Unreadable(str(error)) from error
        return sum(not written.conflict for written in write(session, [job]))


class _Unreadable(Exception):
    """This node can't make a job of an entry."""


def _instant(seconds: float) -> datetime:
    if math.isinf(seconds):
        raise OverflowError(f"{seconds} is not a time")
    return datetime.fromtimestamp(seconds, UTC)


def of_workers(crontab: Iterable[Cron]) -> dict[str, Cron]:
    """The entries of the registered workers and of `crontab`, by name."""
    decorated = (worker.cron_entry for worker in workers.distinct())
    return by_name((cron for cron in decorated if cron is not None), crontab)
