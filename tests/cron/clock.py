"""Schedulers under a clock of their own, and a lease for them. The database still decides who takes a tick."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla.runtime.duties.scheduler import Entry, Scheduler
from oban_sqla.runtime.lanes.lane import Lane
from oban_sqla.runtime.lanes.line import Line
from tests.runtime.helpers import execute

LEASE = {"lease": "oban_sqla:forced", "holder": "forced"}


class Leader:
    """Leads, whoever else does; with the same lease as all of its kind."""

    leads = True
    token = LEASE
    resigned = 0

    async def resign(self) -> None:
        self.resigned += 1


async def grant(engine: AsyncEngine, seconds: float = 3600) -> None:
    """Write the lease under which forced leaders write."""
    await execute(
        engine,
        "INSERT INTO oban_leaders VALUES (:name, :node, timezone('UTC', now()),"
        " timezone('UTC', now()) + make_interval(secs => :seconds))"
        " ON CONFLICT (name) DO UPDATE SET expires_at = excluded.expires_at",
        name=LEASE["lease"],
        node=LEASE["holder"],
        seconds=seconds,
    )


async def database_time(engine: AsyncEngine) -> datetime:
    """The time by the database's clock."""
    [[now]] = await execute(engine, "SELECT now()")
    return now


class Standing(Scheduler):
    """Its clock shows what the test sets; each step is asked for."""

    def __init__(self, engine: AsyncEngine, own: dict[str, Any] | None = None) -> None:
        self.time: datetime | None = None
        lane = Lane(Line(engine, pooled=False), "standing")
        super().__init__(lane=lane, leadership=Leader(), engine=engine, own=lambda: own or {})  # type: ignore[arg-type]

    async def read(self) -> tuple[datetime, list[Entry]]:
        now, entries = await super().read()
        return self.time or now, entries

    async def at(self, time: datetime) -> None:
        """One step at this time."""
        self.time = time
        await self.step()

    async def close(self) -> None:
        await self._lane.close()


CLOCK = "CREATE TABLE tick_clock AS SELECT now() AS base, CAST(:shows AS timestamptz) AS shows, now() AS until"
TURN = "UPDATE tick_clock SET base = clock_timestamp(), shows = :shows, until = :until"
SHOWN = "SELECT least(shows + (clock_timestamp() - base) * 25, greatest(shows, until)) FROM tick_clock"


class Turned(Scheduler):
    """Its clock is the row of `tick_clock`: when the database's clock is at `base` it shows `shows`, and runs 25 times
    as fast from there on until it shows `until`, where it stands."""

    async def read(self) -> tuple[datetime, list[Entry]]:
        _, entries = await super().read()
        [[shown]] = await execute(self._engine, SHOWN)
        return shown, entries

    async def step(self) -> float | None:
        delay = await super().step()
        return None if delay is None else min(delay, 0.02)  # the clock may have been turned


class Shown(Scheduler):
    """Its clock stands at `shows`, which a test sets; for the nodes of the test's own process."""

    shows: datetime

    async def read(self) -> tuple[datetime, list[Entry]]:
        _, entries = await super().read()
        return self.shows, entries

    async def step(self) -> float | None:
        delay = await super().step()
        return None if delay is None else min(delay, 0.02)  # the test may have set the clock


class Racing(Scheduler):
    """When the database's clock is at `base` it shows `shows`, and runs `speed` times as fast from there on."""

    base: datetime
    shows: datetime
    speed = 60.0

    async def read(self) -> tuple[datetime, list[Entry]]:
        now, entries = await super().read()
        return self.shows + (now - self.base) * self.speed, entries

    async def step(self) -> float | None:
        delay = await super().step()
        return None if delay is None else delay / self.speed


def minute(time: datetime, minutes: int = 0) -> datetime:
    """The full minute at or before `time`, some minutes on."""
    return time.replace(second=0, microsecond=0) + timedelta(minutes=minutes)
