"""A started node that is used from another event loop than its own, as plain functions do that run in threads."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import NullPool
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from oban_sqla import Oban, ObanError, Record, job
from tests.faults.jobs import note
from tests.runtime.helpers import execute, finished, insert, load, until
from tests.support import eventually

nodes: list[Oban] = []

CONNECTED = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'oban_sqla'"
)


@job(name="loops.enqueue_from_thread", recorded=True)
def enqueue_from_thread() -> int | None:
    """A plain job that enqueues another one, in the only way that it knows."""
    [spec] = asyncio.run(nodes[-1].enqueue(note.new()))
    return spec.id


@job(name="loops.answer")
async def answer() -> Record:
    return Record(42)


@pytest.fixture(autouse=True)
def no_nodes() -> None:
    nodes.clear()


async def elsewhere(work: Callable[[], Awaitable[Any]]) -> Any:
    """What `work` returns on an event loop of a thread."""

    async def run() -> Any:
        return await work()

    return await asyncio.to_thread(asyncio.run, run())


async def test_a_plain_job_enqueues_by_the_node_that_runs_it(any_engine: AsyncEngine) -> None:
    async with Oban(any_engine, queues={"default": 2}, poll_interval=60) as oban:
        nodes.append(oban)
        await oban.enqueue(note.new())  # the pool and the lane belong to this loop now
        ids = await insert(any_engine, *(enqueue_from_thread.new() for _ in range(3)))
        done = await finished(any_engine, ids)
        await finished(any_engine, [job.meta["return"] for job in done], timeout=10)
        await oban.enqueue(note.new())


async def test_everything_that_is_asked_of_a_node_may_be_asked_from_another_loop(any_engine: AsyncEngine) -> None:
    async with Oban(any_engine, queues={"default": 2}, poll_interval=0.1) as oban:
        [waiting] = await insert(any_engine, note.options(schedule_in=3600).new())
        [recorded] = await insert(any_engine, answer.new())
        assert await oban.result(recorded) == 42
        assert await elsewhere(lambda: oban.result(recorded)) == 42
        assert (await elsewhere(oban.health)).ok
        assert (await elsewhere(lambda: oban.why(waiting))).reasons
        assert await elsewhere(lambda: oban.update(waiting, priority=3)) == 1
        assert await elsewhere(lambda: oban.cancel(waiting)) == 1
        assert (await load(any_engine, waiting)).state == "cancelled"
        await elsewhere(lambda: oban.crons.put("nightly", "0 3 * * *", answer))
        assert [entry.name for entry in await elsewhere(oban.crons.all)] == ["nightly"]
        await elsewhere(lambda: oban.pause_queue("default"))
        assert oban._node is not None
        await eventually(lambda: oban._node and oban._node.producers["default"].paused)
        [paused] = await insert(any_engine, answer.new())
        await elsewhere(lambda: oban.resume_queue("default"))
        await until(any_engine, paused, "completed")


async def test_a_node_is_stopped_from_another_loop(any_engine: AsyncEngine) -> None:
    oban = Oban(any_engine, queues={"default": 2}, poll_interval=0.1)
    await oban.start()
    with pytest.raises(ObanError, match="running already, on another event loop"):
        await elsewhere(oban.start)
    assert await elsewhere(oban.stop) == []
    assert oban._node is None
    assert await execute(any_engine, "SELECT count(*) FROM oban_producers") == [(0,)]


@job(name="loops.stop_from_thread")
def stop_from_thread() -> None:
    """A plain job that stops its node, which waits for it."""
    assert asyncio.run(nodes[-1].stop()) == []


async def test_a_plain_job_stops_its_node(any_engine: AsyncEngine) -> None:
    oban = Oban(any_engine, queues={"default": 2}, poll_interval=0.1)
    nodes.append(oban)
    await oban.start()
    [stopping] = await insert(any_engine, stop_from_thread.new())
    await until(any_engine, stopping, "completed")
    assert await oban.stop() == []


def test_a_loop_that_stands_still_is_named_instead_of_waited_for(database_url: str, clean_tables: None) -> None:
    engine = create_async_engine(database_url)
    with asyncio.Runner() as runner:
        oban = Oban(engine)
        runner.run(oban.start())
        with pytest.raises(ObanError, match="on another event loop .* which stands still; stop it there"):
            asyncio.run(oban.stop())
        runner.run(oban.stop())
        runner.run(engine.dispose())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of connections that were left open
def test_a_program_that_forgot_to_stop_can_start_again(
    database_url: str, clean_tables: None, caplog: pytest.LogCaptureFixture
) -> None:
    engine = create_async_engine(database_url, poolclass=NullPool)

    async def none_is_left() -> bool:
        return (await execute(engine, CONNECTED))[0][0] == 0

    _forget_to_stop(engine, caplog)
    # One that listens, and that nothing reads, would stop each DROP DATABASE of the server when its socket is full.
    gc.collect()
    asyncio.run(eventually(none_is_left))


def _forget_to_stop(engine: AsyncEngine, caplog: pytest.LogCaptureFixture) -> None:
    oban = Oban(engine, queues={"default": 1})
    asyncio.run(oban.start())  # which ends the event loop, too
    caplog.clear()
    asyncio.run(oban.stop())
    assert "event loop was closed before Oban.stop()" in caplog.text
    asyncio.run(oban.start())

    async def again() -> None:
        async with oban:
            [done] = await insert(engine, answer.new())
            await until(engine, done, "completed")

    asyncio.run(again())
