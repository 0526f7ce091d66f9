"""Nodes record what ends, and the charts show it."""

from __future__ import annotations

import asyncio
import functools
import re
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from oban_sqla import Oban, enqueue, job
from oban_sqla.errors import InvalidOption
from oban_sqla.insight.series import Histogram, middle, read, read_depths
from oban_sqla.runtime.measures import EXACT, SAMPLE, bucket
from tests.support import eventually
from tests.web.conftest import insert, opened, words


@pytest.fixture(autouse=True)
def _one_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """The nodes are always in the first second of the same minute."""
    moment = time.time() // 60 * 60 + 1
    monkeypatch.setattr(
        "oban_sqla.runtime.measures.time", SimpleNamespace(time=lambda: moment, monotonic=time.monotonic)
    )


async def _rows(engine: AsyncEngine, table: str = "oban_metrics") -> list[Any]:
    async with engine.connect() as connection:
        return list(await connection.execute(text(f"SELECT * FROM {table} ORDER BY step, at, queue")))


async def test_a_node_with_metrics_writes_a_row_for_each_queue_and_step(any_engine: AsyncEngine) -> None:
    @job(queue="measured")
    async def works() -> None:
        await asyncio.sleep(0.02)

    @job(queue="measured", max_attempts=1)
    async def fails() -> None:
        raise RuntimeError("no")

    async with Oban(any_engine, queues={"measured": 5, "idle": 5}, node="web-1", metrics=True) as oban:
        await oban.enqueue([*(works.new() for _ in range(7)), fails.new()])
        await eventually(lambda: _all_ended(any_engine, 8))
        assert await _rows(any_engine) == [], "only after the minute, or at the stop"
    rows = await _rows(any_engine)
    assert [(row.step, row.queue, row.node) for row in rows] == [
        (step, "measured", "web-1") for step in (60, 600, 3600)
    ]
    for row in rows:
        assert (row.completed, row.discarded, row.retryable, row.cancelled) == (7, 1, 0, 0)
        assert sum(row.run_n) == sum(row.wait_n) == 8
        assert row.busy >= 7 * 0.02
    async with any_engine.connect() as connection:
        series = await connection.run_sync(read, "hour")
    assert sum(series.of("completed")) == 7
    assert series.nodes == ("web-1",)
    await insert(any_engine, {"state": "available", "worker": "w", "queue": "measured"})
    async with opened(any_engine) as browser:
        page = words(await browser.page("/"))
        assert "Recorded by 1 node" in page
        assert "As a table" in page
        assert "<rect" in await browser.page("/?period=day")
        assert re.search(r"p95 [\d.]+ m?s", words(await browser.page("/queues")))


async def test_of_many_runs_in_a_minute_one_in_eight_is_timed_and_each_is_counted(engine: AsyncEngine) -> None:
    @job(queue="busy")
    async def quick() -> None: ...

    async with Oban(engine, queues={"busy": 50}, metrics=True) as oban:
        await oban.enqueue([quick.new() for _ in range(EXACT + 1_003)])
        await eventually(lambda: _all_ended(engine, EXACT + 1_003))
    row, *_ = await _rows(engine)
    assert row.completed == EXACT + 1_003
    assert sum(row.run_n) == sum(row.wait_n) == pytest.approx(EXACT + 1_003, abs=250), "each counts for eight"
    assert (sum(row.run_n) - EXACT) % SAMPLE == 0


async def _all_ended(engine: AsyncEngine, number: int) -> bool:
    async with engine.connect() as connection:
        sql = "SELECT count(*) FROM oban_jobs WHERE state IN ('completed', 'discarded')"
        return await connection.scalar(text(sql)) == number


async def test_a_node_without_metrics_writes_nothing(engine: AsyncEngine) -> None:
    @job(queue="unmeasured")
    async def works() -> None: ...

    async with Oban(engine, queues={"unmeasured": 5}) as oban:
        await oban.enqueue(works.new())
        await eventually(lambda: _all_ended(engine, 1))
    assert await _rows(engine) == []


async def test_a_second_write_of_the_same_minute_does_not_count_twice(engine: AsyncEngine) -> None:
    @job(queue="twice")
    async def works() -> None: ...

    async with Oban(engine, queues={"twice": 5}, metrics=True) as oban:
        node: Any = oban._node
        for number in (1, 2):
            await oban.enqueue(works.new())
            await eventually(functools.partial(_all_ended, engine, number))
            await node.measures._write()
            await node.measures._write()
            assert sum(row.completed for row in await _rows(engine) if row.step == 3600) == number


async def test_the_leader_writes_the_depths_and_prunes_what_is_old(engine: AsyncEngine) -> None:
    @job(queue="deep")
    async def waits() -> None: ...

    async with AsyncSession(engine) as session, session.begin():
        await enqueue(session, [waits.new() for _ in range(3)])
        await enqueue(session, waits.options(schedule_in=3600).new())
    old = datetime.now(UTC).replace(tzinfo=None) - timedelta(days=100)
    values = "(:old, 'a', 'web', 'x'), (timezone('UTC', now()), 'b', 'web', 'x')"
    metric = "(60, :old, 'q', gen_random_uuid(), 'n')"
    async with engine.begin() as connection:
        for sql in (
            f"INSERT INTO oban_audit (at, who, via, verb) VALUES {values}",
            f"INSERT INTO oban_metrics (step, at, queue, origin, node) VALUES {metric}",
        ):
            await connection.execute(text(sql), {"old": old})
    async with Oban(engine, metrics=True) as oban:
        node: Any = oban._node
        [recorder] = [duty for duty in node.duties if duty.name == "recorder"]
        recorder._write_at = recorder._prune_at = 0.0
        recorder.wake()
        await eventually(lambda: _pruned(engine))
    [depth] = [row for row in await _rows(engine, "oban_depths") if row.step == 60]
    assert (depth.queue, depth.available, depth.scheduled, depth.executing) == ("deep", 3, 1, 0)
    assert depth.oldest >= 0


async def _pruned(engine: AsyncEngine) -> bool:
    async with engine.connect() as connection:
        left = await connection.execute(text("SELECT who FROM oban_audit"))
        return left.scalars().all() == ["b"] and await _rows(engine) == []


async def test_a_chart_ends_with_what_was_written_last_and_not_with_nothing(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        minute = "date_trunc('minute', timezone('UTC', now())) - n * interval '1 minute'"
        for sql in (
            "INSERT INTO oban_metrics (step, at, queue, origin, node, completed)"
            f" SELECT 60, {minute}, 'q', gen_random_uuid(), 'web-1', n FROM generate_series(2, 9) n",
            "INSERT INTO oban_depths (step, at, queue, available, scheduled, retryable, executing)"
            f" SELECT 60, {minute}, 'q', n, 0, 0, 0 FROM generate_series(1, 9) n",
        ):
            await connection.execute(text(sql))
        done = await connection.run_sync(read, "hour")
        deep = await connection.run_sync(read_depths, "hour")
    assert done.of("completed")[-3:] == [4, 3, 2]
    assert len(done.times) == len(done.queues["q"]) == 58
    assert deep is not None
    assert deep.steps[-1] is not None
    assert deep.steps[-1].available == 1
    assert len(deep.times) == len(deep.steps) == 59


def test_metrics_is_true_or_false(engine: AsyncEngine) -> None:
    with pytest.raises(InvalidOption, match="metrics must be True or False, got 'yes'"):
        Oban(engine, metrics="yes")  # type: ignore[arg-type]


def test_a_quantile_is_within_a_fifth_of_the_duration() -> None:
    every = Histogram()
    durations = [0.003 * 1.01**number for number in range(800)]
    for one in durations:
        every.add([bucket(one)], [1])
    for part in (0.5, 0.95, 0.99):
        exact = durations[int(part * len(durations))]
        assert every.quantile(part) == pytest.approx(exact, rel=0.2)
    assert bucket(0.0) == 0
    assert middle(bucket(1.0)) == pytest.approx(1.0, rel=0.2)
    assert Histogram().quantile(0.5) is None
