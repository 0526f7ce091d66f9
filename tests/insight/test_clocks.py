"""What people see where this machine's clock differs from the database's, which counts."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import JobSpec
from oban_sqla.insight import search as searching
from oban_sqla.insight.search import Search, search
from oban_sqla.insight.series import read_depths
from tests.runtime.helpers import execute, insert


@pytest.mark.parametrize("hours", [-2, 2])
async def test_a_clock_that_is_hours_off_hides_no_jobs_and_no_charts(
    any_engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    monkeypatch.setattr(searching, "FIRST_WINDOW", 1)
    [old, first, second] = await insert(any_engine, *(JobSpec("w") for _ in range(3)))
    await execute(any_engine, f"UPDATE oban_jobs SET inserted_at = inserted_at - interval '1 hour' WHERE id = {old}")
    await execute(
        any_engine,
        "INSERT INTO oban_depths (step, at, queue, available, scheduled, retryable, executing) "
        "SELECT 60, timezone('UTC', to_timestamp(floor(extract(epoch FROM now()) / 60) * 60)), 'mail', 7, 0, 0, 0",
    )
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + hours * 3_600)
    async with any_engine.connect() as connection:
        found = await connection.run_sync(lambda plain: search(plain, Search(since=600), 10, patience=5.0))
        depths = await connection.run_sync(read_depths, "hour")
    assert found.ids == (second, first)
    assert depths is not None
    assert sum(step.available for step in depths.steps if step is not None) == 7
    assert abs((depths.times[-1] - datetime.now(UTC)).total_seconds()) < 180


async def test_a_time_is_of_the_end_where_one_final_state_is_sought_and_else_of_the_insert(engine: AsyncEngine) -> None:
    made = "INSERT INTO oban_jobs (worker, state, inserted_at, completed_at)"
    ago = "timezone('UTC', now()) - interval '1 min' * {}"
    rows = f"{made} SELECT 'w', 'completed', {ago.format('i')}, {ago.format('c')}"
    found = await execute(engine, f"{rows} FROM unnest(ARRAY[90, 90, 7], ARRAY[80, 5, 2]) as t(i, c) RETURNING id")
    long_ago, lately, new = (row[0] for row in found)
    for states, minutes, ids in (
        (("completed",), 10, {lately, new}), (("completed",), 85, {long_ago, lately, new}), ((), 10, {new})
    ):  # fmt: skip
        wanted = Search(states=states, since=minutes * 60)
        async with engine.connect() as connection:
            assert set((await connection.run_sync(search, wanted, 10)).ids) == ids
