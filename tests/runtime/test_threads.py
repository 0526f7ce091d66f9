"""Plain functions run in threads of the runtime's own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

import oban_sqla.control.answering
from oban_sqla import DatabaseUnavailable, Job, Oban, Record, cancelled, current_job, job, worker
from tests.runtime.helpers import finished, insert, load, until
from tests.support import eventually

order: list[str] = []
release = threading.Event()
entered = threading.Event()


@job
def wait_for_release() -> None:
    entered.set()
    assert release.wait(20)
    order.append("thread")


@job
async def on_the_loop() -> None:
    order.append("loop")


@job
def who_and_where() -> Record:
    thread = threading.current_thread()
    return Record([current_job().id, thread.daemon, thread is threading.main_thread()])


@job(timeout=0.05)
def told_to_stop() -> str:
    while not cancelled():
        release.wait(0.01)
    order.append("told")
    return "too late"


@job(timeout=0.05)
async def watched_by_its_own_thread(job: Job) -> None:
    threading.Thread(target=watch, args=(job,)).start()
    await asyncio.Event().wait()


def watch(job: Job) -> None:
    while not job.cancelled() and not release.wait(0.01):
        pass
    order.append("told" if job.cancelled() else "released")


@job
def fail() -> None:
    raise StopIteration("which a future would refuse")


async def say_where() -> None:
    order.append("loop" if threading.current_thread() is threading.main_thread() else "thread")


@job
def returns_a_coroutine() -> Coroutine[Any, Any, None]:
    order.append("called")
    return say_where()


@worker
class ReturnsACoroutine:
    def process(self, job: Job) -> Any:
        return say_where()


def reset() -> None:
    order.clear()
    release.clear()
    entered.clear()


async def test_a_coroutine_that_a_plain_function_returns_is_run_on_the_event_loop(any_engine: AsyncEngine) -> None:
    reset()
    async with Oban(any_engine, queues={"default": 1}):
        await finished(any_engine, await insert(any_engine, returns_a_coroutine.new(), ReturnsACoroutine.new({})))
    assert order == ["called", "loop", "loop"]


async def test_a_plain_function_that_blocks_does_not_hold_up_a_coroutine(engine: AsyncEngine) -> None:
    reset()
    async with Oban(engine, queues={"default": 5}):
        [blocked] = await insert(engine, wait_for_release.new())
        assert await asyncio.to_thread(entered.wait, 10)
        [free] = await insert(engine, on_the_loop.new())
        await until(engine, free, "completed")
        assert (await load(engine, blocked)).state == "executing"
        release.set()
        await until(engine, blocked, "completed")
    assert order == ["loop", "thread"]


async def test_a_thread_knows_its_job_and_is_a_daemon_of_the_runtime(any_engine: AsyncEngine) -> None:
    async with Oban(any_engine, queues={"default": 3}):
        ids = await insert(any_engine, *(who_and_where.new() for _ in range(20)))
        jobs = await finished(any_engine, ids)
    assert [job.meta["return"] for job in jobs] == [[job.id, True, False] for job in jobs]


async def test_a_thread_that_takes_too_long_is_told_and_its_result_refused(engine: AsyncEngine) -> None:
    reset()
    async with Oban(engine, queues={"default": 5}):
        [job_id] = await insert(engine, told_to_stop.new())
        failed = await until(engine, job_id, "retryable")
    assert order == ["told"]
    assert "JobTimeout" in failed.errors[0]["error"]


async def test_a_thread_that_a_job_has_started_asks_the_job_whether_it_is_to_stop(engine: AsyncEngine) -> None:
    reset()
    async with Oban(engine, queues={"default": 5}):
        [job_id] = await insert(engine, watched_by_its_own_thread.new())
        failed = await until(engine, job_id, "retryable")
        await eventually(lambda: order)
    release.set()
    assert order == ["told"], "also after the run has ended"
    assert not failed.cancelled(), "which was read from the database"


async def test_any_exception_of_a_thread_is_a_failure(engine: AsyncEngine) -> None:
    async with Oban(engine, queues={"default": 5}):
        [job_id] = await insert(engine, fail.new())
        failed = await until(engine, job_id, "retryable")
    assert "StopIteration" in failed.errors[0]["error"]


async def _unanswered(_session: object, _options: object) -> None:
    raise DatabaseUnavailable("the database does not answer")


async def test_a_job_in_a_thread_is_given_back_only_when_the_thread_has_ended(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    reset()
    oban = Oban(engine, queues={"default": 5}, shutdown_grace=0.05)
    await oban.start()
    [job_id] = await insert(engine, wait_for_release.new())
    assert await asyncio.to_thread(entered.wait, 10)
    assert await oban.stop() == [job_id]
    assert (await load(engine, job_id)).state == "executing", "its thread still runs: no other node may run it"
    # What the command line does as its last act, again where the database was away:
    with monkeypatch.context() as away:
        away.setattr(oban_sqla.control.answering, "_answer", _unanswered)
        with pytest.raises(DatabaseUnavailable):
            await oban.abandon()
    assert await oban.abandon() == 1
    assert await oban.abandon() == 0
    given_back = await load(engine, job_id)
    assert (given_back.state, given_back.attempt) == ("available", 0)
    release.set()
    await eventually(lambda: order == ["thread"])


async def test_idle_threads_end_with_the_runtime(engine: AsyncEngine) -> None:
    async with Oban(engine, queues={"default": 3}, name="ending"):
        [job_id] = await insert(engine, who_and_where.new())
        await until(engine, job_id, "completed")
        assert any(thread.name.startswith("oban-ending") for thread in threading.enumerate())
    await eventually(lambda: not any(thread.name.startswith("oban-ending") for thread in threading.enumerate()))
