"""Executors that a program has written: what becomes of a job when they fail."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import Oban, injected, job
from oban_sqla.executors import perform
from tests.runtime.helpers import insert, until
from tests.support import eventually

began, release = threading.Event(), threading.Event()


@job(name="tests.outside.waits", executor="outside")
def waits() -> None:
    began.set()
    assert release.wait(20)


class Outside:
    """Runs jobs in threads of this process, which it can't kill."""

    async def start(self, workers: Any) -> None: ...

    def submit(self, payload: bytes) -> Any:
        return asyncio.ensure_future(asyncio.to_thread(perform, payload))

    async def kill(self, run: Any) -> bool:
        raise ConnectionResetError("the cluster is away")

    async def stop(self) -> None: ...


class Stuck(Outside):
    """Can't be stopped."""

    async def stop(self) -> None:
        raise ConnectionResetError("the cluster is away")


class Noted(Outside):
    stopped = False

    async def stop(self) -> None:
        self.stopped = True


async def test_an_executor_that_can_not_be_stopped_keeps_nothing_else_from_it(
    engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    noted = Noted()
    oban = Oban(engine, executors={"noted": noted, "stuck": Stuck()})
    await oban.start()
    assert await oban.stop() == []
    assert noted.stopped
    assert "the executor 'stuck' could not be stopped: ConnectionResetError" in caplog.text


async def test_a_start_fails_with_its_own_error_where_an_executor_can_not_be_stopped(engine: AsyncEngine) -> None:
    def unmade() -> dict[str, int]:
        raise LookupError("no cache")

    @job(name="tests.outside.cached", queue="cached")
    async def cached(numbers: dict[str, int] = injected()) -> None: ...

    oban = Oban(engine, {"cached": 1}, executors={"stuck": Stuck()}, resources={dict[str, int]: unmade})
    with pytest.raises(LookupError, match="no cache"):
        await oban.start()


async def test_an_executor_that_fails_to_kill_a_job_is_named_and_its_end_is_waited_for(
    engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    async with Oban(engine, {"default": 2}, executors={"outside": Outside()}) as oban:
        [job_id] = await insert(engine, waits.new())
        assert await asyncio.to_thread(began.wait, 10)
        await oban.cancel(job_id)
        said = f"job {job_id}: its executor could not kill it, so it runs to its end: ConnectionResetError"
        await eventually(lambda: said in caplog.text)
        release.set()
        await until(engine, job_id, "completed")


@job(name="tests.outside.late", executor="outside", timeout=0.05)
def late(fails: bool) -> None:
    assert killed.wait(20)
    if fails:
        raise ValueError("at last")


killed = threading.Event()


class Unkillable(Outside):
    async def kill(self, run: Any) -> bool:
        killed.set()
        return False


@pytest.mark.parametrize("fails", [False, True])
async def test_what_a_job_gives_after_its_timeout_is_refused_where_it_could_not_be_killed(
    engine: AsyncEngine, fails: bool
) -> None:
    killed.clear()
    async with Oban(engine, {"default": 2}, executors={"outside": Unkillable()}):
        [job_id] = await insert(engine, late.new(fails))
        row = await until(engine, job_id, "retryable")
    error = row.errors[0]["error"]
    assert "late: ran longer than its timeout of 0.05 s" in error
    assert ("ValueError: at last" in error) is fails
