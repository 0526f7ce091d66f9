"""The place from which a queue is read: a hint, and never for more than a second."""

from __future__ import annotations

import time
from datetime import datetime

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import Oban
from oban_sqla.runtime.cursor import LONGEST, Cursor
from oban_sqla.runtime.fetcher import Fetcher
from oban_sqla.statements.fetch import fetch, fetch_onward
from tests.faults.jobs import note, ran
from tests.runtime.helpers import execute, finished, insert
from tests.support import eventually

PLACE = (0, datetime(2024, 1, 1), 7)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def reading(cost: float) -> tuple[Clock, Cursor]:
    """A cursor after one full batch from the front that took `cost` seconds."""
    clock = Clock()
    cursor = Cursor(clock)
    began = clock.now
    clock.now += cost
    cursor.read(None, PLACE, began)
    return clock, cursor


def test_after_a_full_batch_it_goes_on_from_the_last_job() -> None:
    _, cursor = reading(0.001)
    assert cursor.place == PLACE


def test_a_short_batch_sends_it_back_to_the_front() -> None:
    clock, cursor = reading(0.001)
    cursor.read(PLACE, None, clock.now)
    assert cursor.place is None


def test_it_is_forgotten_a_second_after_the_front_was_read_however_often_it_went_on() -> None:
    clock, cursor = reading(0.001)
    for _ in range(9):
        clock.now += 0.1
        assert cursor.place is not None
        cursor.read(PLACE, PLACE, clock.now)
    clock.now += 0.1
    assert cursor.place is None
    assert LONGEST == 1.0


def test_a_notice_sends_it_back_at_once_where_the_front_is_cheap() -> None:
    clock, cursor = reading(0.0005)
    cursor.notice()
    assert cursor.place == PLACE
    clock.now += 0.010
    assert cursor.place is None


def test_notices_make_reading_the_front_no_more_than_a_twentieth_of_the_work_where_it_is_dear() -> None:
    clock, cursor = reading(0.040)
    cursor.notice()
    clock.now += 0.700
    assert cursor.place == PLACE
    clock.now += 0.061
    assert cursor.place is None


async def test_no_job_is_passed_over_for_more_than_a_second_in_a_queue_that_never_runs_short(
    engine: AsyncEngine,
) -> None:
    ids = await insert(engine, *(note.options(priority=5).new(0.02) for _ in range(3_000)))
    async with Oban(engine, queues={"default": 5}, poll_interval=60, notify="off") as oban:
        assert oban._node is not None
        fetcher = oban._node.producers["default"]._fetcher
        assert isinstance(fetcher, Fetcher)
        await eventually(lambda: fetcher._cursor.place is not None)
        # Written by nobody that would tell: it stands before the cursor, behind which there is always more.
        urgent = await execute(
            engine,
            "INSERT INTO oban_jobs (worker, priority) SELECT 'faults.note', 0 FROM generate_series(1, 3) RETURNING id",
        )
        began = time.monotonic()
        await eventually(lambda: all((row.id, 1) in ran for row in urgent), 10)
        assert time.monotonic() - began < 5, "a second, on a machine that is free; the queue runs short after twelve"
        left = await execute(engine, "SELECT count(*) FROM oban_jobs WHERE state = 'available'")
        assert left[0][0] > 100, "the queue never ran short"
        await execute(engine, "DELETE FROM oban_jobs WHERE state = 'available'")
        kept = await execute(engine, "SELECT id FROM oban_jobs WHERE id = ANY(:ids)", ids=ids)
        await finished(engine, [row.id for row in kept])


async def test_the_next_fetch_reads_from_the_place_of_the_last_job(engine: AsyncEngine) -> None:
    ids = await insert(engine, *(note.new() for _ in range(30)))
    async with engine.begin() as connection:

        def run(sync: object) -> list[list[int]]:
            assert isinstance(sync, Connection)
            given = {"queue": "default", "limit": 10, "attempted_by": ["n", "u"], "unknown": []}
            first = sorted(fetch.execute(sync, **given).all(), key=lambda row: row.id)
            last = first[-1]
            place = {"priority": last.priority, "scheduled_at": last.scheduled_at, "id": last.id}
            onward = fetch_onward.execute(sync, **given, **place).all()
            beyond = fetch_onward.execute(sync, **given, **place | {"id": ids[25]}).all()
            return [[row.id for row in first], sorted(row.id for row in onward), sorted(row.id for row in beyond)]

        first, onward, beyond = await connection.run_sync(run)
    assert first == ids[:10]
    assert onward == ids[10:20]
    assert beyond == ids[25:]
