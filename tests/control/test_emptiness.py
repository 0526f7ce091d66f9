"""Waiting until a node has nothing to do."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from oban_sqla import Cron, Job, Oban, ObanError, Queue, RateLimit, Workflow, job
from tests.cluster.helpers import QUICK, executing, producer
from tests.control import jobs
from tests.control.jobs import noop, waits
from tests.runtime.helpers import execute, insert, load
from tests.support import eventually

PATIENCE = 15


@pytest.fixture(autouse=True)
def _fresh() -> None:
    jobs.reset()


@job(name="control.next", recorded=True)
async def following(number: int) -> int:
    return number + 1


async def states(engine: AsyncEngine) -> list[str]:
    async with AsyncSession(engine) as session:
        return [str(state) for state in await session.scalars(select(Job.state).order_by(Job.id))]


async def test_what_is_due_is_waited_for_and_what_a_job_releases(any_engine: AsyncEngine) -> None:
    flow = Workflow("line")
    node = flow.add(following.new(0), name="0")
    for place in range(1, 6):
        node = flow.add(following.new(node.result), name=str(place))
    async with AsyncSession(any_engine) as session, session.begin():
        session.add(flow)
    later, elsewhere = noop.options(schedule_in=3600).new(), noop.options(queue="other").new()
    await insert(any_engine, later, elsewhere, *(noop.new() for _ in range(30)))
    async with Oban(any_engine, queues={"default": 3}) as oban, asyncio.timeout(PATIENCE):
        await oban.until_empty()
    assert await states(any_engine) == ["completed"] * 6 + ["scheduled", "available"] + ["completed"] * 30


async def test_a_job_that_runs_is_waited_for_and_a_paused_queue_is_not(engine: AsyncEngine) -> None:
    await insert(engine, waits.new(), noop.options(queue="paused").new())
    queues = {"default": Queue(limit=1), "paused": Queue(limit=1, paused=True)}
    async with Oban(engine, queues=queues) as oban, asyncio.timeout(PATIENCE):
        waiting = asyncio.create_task(oban.until_empty())
        await eventually(lambda: jobs.events == ["started"])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(waiting), 0.5)
        jobs.gate.set()
        await waiting
    assert await states(engine) == ["completed", "available"]


async def test_jobs_that_a_limit_holds_up_are_waited_for(engine: AsyncEngine) -> None:
    await insert(engine, *(noop.new() for _ in range(4)))
    slow = Queue(limit=4, rate_limit=RateLimit(2, 0.5))
    async with Oban(engine, queues={"default": slow}) as oban, asyncio.timeout(PATIENCE):
        await oban.until_empty()
    assert await states(engine) == ["completed"] * 4


async def test_jobs_of_a_dead_node_are_waited_for_until_they_are_rescued_and_others_are_not(
    any_engine: AsyncEngine,
) -> None:
    dead = await executing(any_engine, await producer(any_engine), queue="'default'", worker="'control.noop'")
    queues = {"default": Queue(limit=1)}
    async with Oban(any_engine, queues=queues, node="another", **QUICK) as another, asyncio.timeout(PATIENCE):
        await insert(any_engine, waits.new())
        await eventually(lambda: jobs.events == ["started"])
        async with Oban(any_engine, queues=queues, **QUICK) as oban:
            await another.pause_queue("default", node="another")
            await oban.until_empty()
            assert await states(any_engine) == ["completed", "executing"]
        jobs.gate.set()
    assert (await load(any_engine, dead)).meta == {"rescued": 1}


async def test_a_cron_job_that_no_node_has_enqueued_is_waited_for(engine: AsyncEngine) -> None:
    entry = Cron("@hourly", noop.new(), name="hourly", catch_up=True)
    async with Oban(engine, queues={"default": 1}, crontab=[entry]) as oban, asyncio.timeout(PATIENCE):
        await oban.until_empty()
        assert await states(engine) == []
    await execute(engine, "UPDATE oban_crons SET since = since - interval '1 day'")
    async with Oban(engine, queues={"default": 1}, crontab=[entry]) as oban, asyncio.timeout(PATIENCE):
        await oban.until_empty()
    assert await states(engine) == ["completed"]


async def test_a_node_that_runs_nothing_is_not_waited_for(engine: AsyncEngine) -> None:
    oban = Oban(engine, queues={"default": 1}, shutdown_grace=0.1)
    with pytest.raises(ObanError, match="this node is not started; await oban.start"):
        await oban.until_empty()
    asked: list[str] = []

    @job(name="control.asks_for_the_end")
    async def asks_for_the_end() -> None:
        try:
            await oban.until_empty()
        except ObanError as error:
            asked.append(str(error))

    await insert(engine, asks_for_the_end.new())
    await oban.start()
    async with asyncio.timeout(PATIENCE):
        await oban.until_empty()
        await insert(engine, waits.new())
        waiting = asyncio.create_task(oban.until_empty())
        await eventually(lambda: jobs.events == ["started"])
        await oban.stop()
        with pytest.raises(ObanError, match="was stopped before its queues were empty"):
            await waiting
    assert asked == ["until_empty: a job can't wait until no job runs; call it outside of jobs"]
