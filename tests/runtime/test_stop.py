"""Stopping: what happens to jobs that are running."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from oban_sqla import Job, Oban, Producer, cancelled, job
from oban_sqla.runtime import farewell, notifier
from oban_sqla.runtime.node import Node
from tests.runtime.helpers import execute, insert, load, until
from tests.support import eventually

gates: dict[str, asyncio.Event] = {}
started: set[int] = set()
stubborn_may_end = asyncio.Event()


@job
async def wait_at(gate: str, number: int) -> None:
    started.add(number)
    await gates[gate].wait()


@job
async def stubborn() -> None:
    started.add(-1)
    while not gates["stubborn"].is_set():
        try:
            await gates["stubborn"].wait()
        except asyncio.CancelledError:
            continue


async def test_what_ends_within_the_grace_is_completed_and_the_rest_is_given_back(any_engine: AsyncEngine) -> None:
    gates.update(soon=asyncio.Event(), never=asyncio.Event())
    started.clear()
    oban = Oban(any_engine, queues={"default": 60}, shutdown_grace=0.3)
    await oban.start()
    soon = await insert(any_engine, *(wait_at.new("soon", number) for number in range(25)))
    never = await insert(any_engine, *(wait_at.new("never", number) for number in range(25, 50)))
    await eventually(lambda: len(started) == 50)
    stopping = asyncio.create_task(oban.stop())
    await asyncio.sleep(0)
    gates["soon"].set()
    assert await stopping == []
    for job_id in soon:
        assert (await load(any_engine, job_id)).state == "completed"
    for job_id in never:
        given_back = await load(any_engine, job_id)
        assert (given_back.state, given_back.attempt, given_back.errors) == ("available", 0, [])


@job
def obeys(steps: int) -> None:
    for _ in range(steps):
        started.add(-2)
        if cancelled():
            return
        time.sleep(0.005)


async def test_a_thread_that_stops_when_it_is_told_to_is_given_back(engine: AsyncEngine) -> None:
    started.clear()
    oban = Oban(engine, queues={"default": 1}, shutdown_grace=0.0)
    await oban.start()
    [job_id] = await insert(engine, obeys.new(2_000))
    await eventually(lambda: started == {-2})
    assert await oban.stop() == []
    given_back = await load(engine, job_id)
    assert (given_back.state, given_back.attempt, given_back.errors) == ("available", 0, [])


async def test_a_stop_that_takes_a_while_says_what_it_waits_for(
    engine: AsyncEngine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(farewell, "FIRST", 0.01)
    gates["soon"] = asyncio.Event()
    started.clear()
    oban = Oban(engine, queues={"default": 10}, shutdown_grace=600)
    await oban.start()
    ids = await insert(engine, *(wait_at.new("soon", number) for number in range(7)))
    await eventually(lambda: len(started) == 7)
    stopping = asyncio.create_task(oban.stop())
    try:
        line = await eventually(lambda: next((m for m in caplog.messages if m.startswith("waiting up to ")), None))
    finally:
        gates["soon"].set()
        await stopping
    assert " s more for 7 jobs: " in line
    assert sum(f"job {job_id} (tests.runtime.test_stop.wait_at, running for " in line for job_id in ids) == 5
    assert " and 2 more; then they are cancelled, and run again later (Oban(shutdown_grace=…)" in line


async def test_a_stop_does_not_wait_for_what_is_listened_to(
    any_engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier, "PSYCOPG_SLICE", 600.0)
    monkeypatch.setattr(notifier, "CHECK_EVERY", 600.0)
    oban = Oban(any_engine, queues={"default": 1})
    await oban.start()
    async with asyncio.timeout(20):
        assert await oban.stop() == []


async def test_a_stopped_runtime_fetches_no_more_and_leaves_no_trace(engine: AsyncEngine) -> None:
    gates["soon"] = asyncio.Event()
    started.clear()
    oban = Oban(engine, queues={"default": 1}, shutdown_grace=5)
    await oban.start()
    first, second = await insert(engine, wait_at.new("soon", 1), wait_at.new("soon", 2))
    await eventually(lambda: started == {1})
    stopping = asyncio.create_task(oban.stop())
    await asyncio.sleep(0)
    gates["soon"].set()
    await stopping
    assert (await load(engine, first)).state == "completed"
    assert (await load(engine, second)).state == "available"
    async with AsyncSession(engine) as session:
        assert (await session.execute(select(Producer))).all() == []
    mine = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'oban_sqla'"
    await eventually(lambda: _is_zero(engine, mine))


async def _is_zero(engine: AsyncEngine, sql: str) -> bool:
    return (await execute(engine, sql))[0][0] == 0


async def test_a_job_that_swallows_its_cancellation_is_not_given_to_another_while_it_runs(
    engine: AsyncEngine,
) -> None:
    gates["stubborn"] = asyncio.Event()
    started.clear()
    oban = Oban(engine, queues={"default": 1}, shutdown_grace=0.0)
    await oban.start()
    [job_id] = await insert(engine, stubborn.new())
    await eventually(lambda: started == {-1})
    assert await oban.stop() == [job_id]
    assert (await load(engine, job_id)).state == "executing"
    gates["stubborn"].set()
    await eventually(lambda: asyncio.all_tasks() == {asyncio.current_task()})  # with the job its node ends


async def test_a_program_that_cancels_all_tasks_is_told_so_in_one_line_and_loses_no_outcome(
    engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    gates["soon"] = asyncio.Event()
    started.clear()
    oban = Oban(engine, queues={"default": 1}, leadership=False)  # no duty waits for the lock
    await oban.start()
    assert oban._node is not None
    [job_id] = await insert(engine, wait_at.new("soon", 1))
    await eventually(lambda: started == {1})
    async with engine.connect() as other:
        await other.execute(text("LOCK TABLE oban_jobs IN SHARE MODE"))  # so that its ack is under way
        gates["soon"].set()
        acking = oban._node.connections.acking
        await eventually(lambda: acking.is_busy)
        for task in asyncio.all_tasks():
            if task is not asyncio.current_task() and task.get_name().startswith("oban_sqla "):
                task.cancel()
        await eventually(lambda: not any(oban.loops.values()))
    said = [
        record.getMessage() for record in caplog.records if "stop the runtime with Oban.stop()" in record.getMessage()
    ]
    assert len(said) == 1, said
    assert "more background loops have ended" in said[0]
    assert await oban.stop() == []
    assert (await load(engine, job_id)).state == "completed"


async def test_it_can_be_started_again(engine: AsyncEngine) -> None:
    gates["soon"] = asyncio.Event()
    gates["soon"].set()
    oban = Oban(engine, queues={"default": 1})
    for number in range(2):
        async with oban:
            [job_id] = await insert(engine, wait_at.new("soon", number))
            await until(engine, job_id, "completed")


async def test_stopping_twice_is_harmless(engine: AsyncEngine) -> None:
    oban = Oban(engine)
    assert await oban.stop() == []
    await oban.start()
    assert await oban.stop() == []
    assert await oban.stop() == []


async def test_the_pool_of_the_user_is_untouched(engine: AsyncEngine) -> None:
    gates["soon"] = asyncio.Event()
    started.clear()
    async with Oban(engine, queues={"default": 10}):
        ids = await insert(engine, *(wait_at.new("soon", number) for number in range(10)))
        await eventually(lambda: len(started) == 10)
        assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        gates["soon"].set()
        for job_id in ids:
            await until(engine, job_id, "completed")


async def test_history_is_a_query(engine: AsyncEngine) -> None:
    gates["soon"] = asyncio.Event()
    gates["soon"].set()
    async with Oban(engine, queues={"default": 10}):
        [job_id] = await insert(engine, wait_at.new("soon", 1))
        await until(engine, job_id, "completed")
    async with AsyncSession(engine) as session:
        query = select(Job).where(Job.worker == wait_at, Job.is_finished)
        assert [job.id for job in (await session.execute(query)).scalars()] == [job_id]


async def test_a_start_that_is_ended_tells_which_jobs_run_on(
    any_engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, release = threading.Event(), threading.Event()

    @job(name="stop.holds")
    def holds() -> None:
        began.set()
        release.wait(20)

    start = Node.start

    async def never_ready(self: Node) -> None:
        await start(self)
        await asyncio.Event().wait()

    monkeypatch.setattr(Node, "start", never_ready)
    [job_id] = await insert(any_engine, holds.new())
    oban = Oban(any_engine, queues={"default": 1})
    starting = asyncio.create_task(oban.start())
    try:
        await eventually(began.is_set)
        starting.cancel()
        await asyncio.wait([starting])
        assert await oban.stop() == [job_id]
        assert await oban.abandon() == 1
        assert (await load(any_engine, job_id)).state == "available"
    finally:
        release.set()
    assert await oban.stop() == []
