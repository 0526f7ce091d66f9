"""Sleeps: no slot, no attempt, and the job starts from its top."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import Cancel, Oban
from oban_sqla.durable import sleep, step, wait_for
from oban_sqla.runtime.chunk_attempt import attempt_of
from oban_sqla.runtime.durable.ways import Suspending
from tests.durable import jobs
from tests.durable.test_steps import failure_of
from tests.runtime.helpers import execute, finished, insert, until
from tests.support import eventually


async def test_a_job_sleeps_without_an_attempt_and_goes_on(oban: Oban, engine: AsyncEngine) -> None:
    [done] = await finished(engine, await insert(engine, jobs.nap.new(0.3)))
    assert done.meta["return"] == "awake"
    assert done.attempt == 1
    assert done.errors == []
    assert jobs.calls == {"begun": 2, "slept": 1}


async def test_a_job_that_is_started_early_sleeps_on(oban: Oban, engine: AsyncEngine) -> None:
    [job_id] = await insert(engine, jobs.nap.new(3_600, name="long"))
    asleep = await until(engine, job_id, "scheduled")
    assert asleep.attempt == 0
    assert await oban.retry(job_id) == 1
    again = await until(engine, job_id, lambda job: job.state == "scheduled" and job.meta["slept"] == 2)
    assert abs((again.scheduled_at - asleep.scheduled_at).total_seconds()) < 5
    assert await execute(engine, "SELECT name, kind FROM oban_steps") == [("sleep:long", "sleep")]
    assert jobs.calls["slept"] == 0


async def test_a_sleep_rolls_back_the_jobs_session_and_is_not_handled_as_an_exception(
    oban: Oban, engine: AsyncEngine
) -> None:
    [done] = await finished(engine, await insert(engine, jobs.writes_and_naps.new(1)))
    assert done.meta["slept"] == 1
    assert jobs.calls["handled"] == 0
    assert await execute(engine, "SELECT what FROM durable_effects") == [("own 1",)]  # once: of the run that ended


async def test_a_job_that_catches_everything_is_asleep_all_the_same(oban: Oban, engine: AsyncEngine) -> None:
    async def body() -> None:
        try:
            await sleep(0.2)
        except BaseException:
            await step("never", jobs.value, 1)
        await step("after", jobs.value, 1)

    jobs.bodies["body"] = body
    await finished(engine, await insert(engine, jobs.anything.new(name="body")))
    assert await execute(engine, "SELECT name FROM oban_steps ORDER BY name") == [("after",), ("sleep:1",)]


async def test_a_job_that_catches_everything_and_returns_is_asleep_all_the_same(
    oban: Oban, engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> list[str]:
        both = await asyncio.gather(sleep(0.1, "left"), sleep(0.2, "right"), return_exceptions=True)
        return [type(one).__name__ for one in both]

    jobs.bodies["body"] = body
    [done] = await finished(engine, await insert(engine, jobs.anything.new(name="body")))
    assert done.meta["return"] == ["NoneType", "NoneType"]
    assert done.attempt == 1
    assert "has caught what ends the run of a job that sleeps, and has returned; it sleeps all the same" in caplog.text


async def test_an_outcome_counts_though_the_job_has_caught_its_sleep(oban: Oban, engine: AsyncEngine) -> None:
    async def body() -> Cancel:
        await asyncio.gather(sleep(3600), return_exceptions=True)
        return Cancel("not needed any more")

    jobs.bodies["body"] = body
    [job_id] = await insert(engine, jobs.anything.new(name="body"))
    await until(engine, job_id, "cancelled")


async def test_sleeps_are_known_by_their_order_and_a_group_of_tasks_may_sleep(oban: Oban, engine: AsyncEngine) -> None:
    async def body() -> None:
        await sleep(0.1)
        await sleep(0.1)
        async with asyncio.TaskGroup() as group:
            group.create_task(sleep(0.1, "left"))
            group.create_task(step("right", jobs.value, 1))

    jobs.bodies["body"] = body
    [done] = await finished(engine, await insert(engine, jobs.anything.new(name="body")))
    names = await execute(engine, "SELECT name FROM oban_steps ORDER BY name")
    assert names == [("right",), ("sleep:1",), ("sleep:2",), ("sleep:left",)]
    assert done.attempt == 1


async def test_a_sleep_that_is_not_worth_a_run_keeps_the_slot(
    oban: Oban, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused: list[float] = []

    async def pause(_: Suspending, seconds: float) -> None:
        paused.append(seconds)

    monkeypatch.setattr(Suspending, "pause", pause)
    jobs.bodies["body"] = lambda: sleep(0.04)
    [done] = await finished(engine, await insert(engine, jobs.anything.new(name="body")))
    assert 0 < paused[0] <= 0.04
    assert "slept" not in done.meta


async def test_of_two_runs_that_go_to_sleep_at_once_both_sleep(oban: Oban, engine: AsyncEngine) -> None:
    """A node that was taken for dead wakes up, and its run goes on beside the next one."""
    assert oban._node is not None
    both = asyncio.Barrier(2)
    runs: list[int] = []

    async def body() -> None:
        await step("first", jobs.value, 1)
        runs.append(len(runs))
        if len(runs) <= 2:
            await both.wait()
        await sleep(3600)

    jobs.bodies["body"] = body
    [job_id] = await insert(engine, jobs.anything.new(name="body"))
    running = oban._node.producers["durable"].running
    first = await eventually(lambda: running.get(job_id))
    ack, _ = await attempt_of(oban._node.host, first.row).run()
    assert ack is not None
    assert ack.state == "scheduled"
    await eventually(lambda: job_id not in running)
    await until(engine, job_id, "scheduled")
    await execute(engine, "UPDATE oban_steps SET until = timezone('UTC', now()) WHERE until IS NOT NULL")
    await execute(engine, "UPDATE oban_jobs SET scheduled_at = timezone('UTC', now())")
    await until(engine, job_id, "completed")
    assert runs == [0, 1, 2]


@pytest.mark.parametrize(("inner", "said"), [(sleep, "sleep() inside"), (wait_for, "wait_for() inside")])
async def test_a_sleep_or_a_wait_inside_a_step_is_refused(
    oban: Oban, engine: AsyncEngine, inner: Any, said: str
) -> None:
    given: object = 1 if inner is sleep else "go"
    assert f"{said} of the step 'outer'" in await failure_of(engine, lambda: step("outer", inner, given))


async def test_a_chunk_of_jobs_has_no_sleeps(oban: Oban, engine: AsyncEngine) -> None:
    ids = await insert(engine, jobs.together.new(), jobs.together.new())
    for job_id in ids:
        failed = await until(engine, job_id, "discarded")
        assert "steps, sleeps and waits belong to one job, and this call runs a chunk" in failed.errors[-1]["error"]


async def test_a_name_of_a_sleep_used_twice_is_refused(oban: Oban, engine: AsyncEngine) -> None:
    async def body() -> None:
        await sleep(0, "twice")
        await sleep(0, "twice")

    assert "sleep('twice') was used before in this run" in await failure_of(engine, body)
    assert "sleep: expected seconds (0 or more)" in await failure_of(engine, lambda: sleep(-1), "negative")


async def test_sleeping_jobs_hold_no_slot(oban: Oban, engine: AsyncEngine) -> None:
    await insert(engine, *(jobs.nap.new(3_600) for _ in range(30)))  # three times the limit of the queue
    [done] = await finished(engine, await insert(engine, jobs.order.new(1)))
    assert done.attempt == 1


async def test_ten_thousand_sleeping_jobs_cost_no_connection_and_no_slot(oban: Oban, engine: AsyncEngine) -> None:
    sql = """
        INSERT INTO oban_jobs (worker, queue, state, scheduled_at, meta)
        SELECT :worker, 'durable', 'scheduled', timezone('UTC', now()) + interval '3 days', '{"slept": 1}'
          FROM generate_series(1, 10000)
    """
    await execute(engine, sql, worker=jobs.nap.worker.name)
    await finished(engine, await insert(engine, jobs.no_step.new()))
    assert oban._node is not None
    assert oban._node.connections.steps[0].connections == 0
    assert oban._node.producers["durable"].held == {}
