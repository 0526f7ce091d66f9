"""A coroutine that blocks the event loop is named in the log: nothing else would tell why all jobs are late."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import JobLogs, Oban, job
from oban_sqla.runtime.executors import stall
from oban_sqla.runtime.once_a_minute import OnceAMinute
from tests.runtime.helpers import insert, until


@job(name="stall.ends")
async def ends() -> None:
    time.sleep(0.3)  # noqa: ASYNC251


@job(name="stall.goes_on")
async def goes_on() -> None:
    time.sleep(0.3)  # noqa: ASYNC251
    await asyncio.sleep(0.05)


async def test_a_look_that_is_more_than_a_second_late_is_told_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that stands still but for the test."""
    now = 0.0
    told: list[float] = []

    class Watched(stall.Stall):
        def _tell(self, late: float, rows: Any) -> None:
            told.append(late)

    monkeypatch.setattr(stall, "monotonic", lambda: now)
    row: Any = type("Row", (), {"id": 1, "worker": "w"})()
    for seconds, late in ((stall.EVERY + stall.LONGEST, []), (stall.EVERY + stall.LONGEST + 0.5, [1.5])):
        watched = Watched()
        watched.enter(row)
        now += seconds
        watched.leave(row)
        assert told == late


@pytest.mark.parametrize("worker", [ends, goes_on])
async def test_a_coroutine_that_blocks_the_event_loop_is_named(
    engine: AsyncEngine, worker: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stall, "LONGEST", 0.1)
    monkeypatch.setattr(stall, "EVERY", 0.02)
    monkeypatch.setattr(stall, "_told", OnceAMinute())
    caplog.set_level(logging.WARNING, "oban_sqla.job")
    async with Oban(engine, {"default": 1}, job_logs=JobLogs()) as oban:
        [job_id] = await insert(engine, worker.new())
        await until(engine, job_id, "completed")
        assert await oban.logs(job_id) == [], "it is not what the job itself has said"
    assert any(f"probably by job {job_id} ({worker.worker_name}); other coroutines" in said for said in caplog.messages)
