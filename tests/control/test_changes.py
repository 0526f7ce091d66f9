"""Retrying, deleting and updating jobs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from oban_sqla import Batch, InvalidArgs, InvalidOption, Job, Oban, Unique, Workflow
from tests.control import jobs
from tests.control.jobs import adds, boom, noop, waits
from tests.runtime.helpers import execute, insert, load, until
from tests.support import eventually

ASLEEP = 3600.0
"""A poll interval that no test outlives: a job that runs was woken."""


@pytest.fixture(autouse=True)
def _fresh() -> None:
    jobs.reset()


async def in_state(engine: AsyncEngine, state: str, *, attempt: int = 3, max_attempts: int = 20) -> int:
    [job_id] = await insert(engine, noop.options(queue="q", max_attempts=max_attempts).new())
    column = f", {state}_at = now()" if state in ("completed", "cancelled", "discarded") else ""
    await execute(engine, f"UPDATE oban_jobs SET state = '{state}', attempt = {attempt}{column} WHERE id = {job_id}")
    return job_id


@pytest.mark.parametrize("state", ["completed", "cancelled", "discarded", "retryable", "scheduled"])
async def test_a_job_that_is_retried_is_available_now(engine: AsyncEngine, state: str) -> None:
    job_id = await in_state(engine, state)
    await execute(engine, "UPDATE oban_jobs SET cancel_at = now()")
    assert await Oban(engine).retry(job_id) == 1
    job = await load(engine, job_id)
    assert (job.state, job.attempt, job.max_attempts) == ("available", 3, 20)
    assert (job.completed_at, job.cancelled_at, job.discarded_at) == (None, None, None)
    assert await execute(engine, "SELECT cancel_at FROM oban_jobs") == [(None,)]
    assert abs(job.scheduled_at - datetime.now(UTC)) < timedelta(seconds=5)


@pytest.mark.parametrize("state", ["available", "executing", "suspended"])
async def test_what_is_about_to_run_or_runs_is_not_retried(engine: AsyncEngine, state: str) -> None:
    job_id = await in_state(engine, state)
    before = await load(engine, job_id)
    assert await Oban(engine).retry(job_id) == 0
    after = await load(engine, job_id)
    assert (after.state, after.attempt, after.scheduled_at) == (before.state, before.attempt, before.scheduled_at)


@pytest.mark.parametrize("attempt", [5, 32_766])
async def test_an_exhausted_job_gets_one_more_attempt(engine: AsyncEngine, attempt: int) -> None:
    job_id = await in_state(engine, "discarded", attempt=attempt, max_attempts=attempt)
    await Oban(engine).retry(job_id)
    assert (await load(engine, job_id)).max_attempts == attempt + 1


async def test_a_job_without_a_further_attempt_keeps_no_other_from_a_retry(engine: AsyncEngine) -> None:
    most = await in_state(engine, "discarded", attempt=32_767, max_attempts=32_767)
    other = await in_state(engine, "discarded")
    assert await Oban(engine).retry([most, other]) == 1


async def test_a_retried_job_wakes_its_queue(any_engine: AsyncEngine) -> None:
    async with Oban(any_engine, {"default": 2}, poll_interval=ASLEEP) as oban:
        [job_id] = await insert(any_engine, boom.options(max_attempts=1).new())
        await until(any_engine, job_id, "discarded")
        await oban.retry(job_id)
        job = await until(any_engine, job_id, lambda job: job.state == "discarded" and job.attempt == 2)
    assert len(job.errors) == 2


async def test_in_a_session_a_retry_wakes_the_queue_at_the_commit(engine: AsyncEngine) -> None:
    job_id = await in_state(engine, "cancelled")
    async with Oban(engine, {"q": 2}, poll_interval=ASLEEP) as oban:
        async with AsyncSession(engine) as session:
            assert await oban.retry(select(Job).where(Job.queue == "q"), session) == 1
            assert jobs.events == []
            await session.commit()
        await until(engine, job_id, "completed")


async def test_a_second_target_is_told_from_a_session(engine: AsyncEngine) -> None:
    oban: Any = Oban(engine)
    for second in (2, noop.new(), Batch([noop.new()])):
        with pytest.raises(
            InvalidOption, match="expected one target and then a session, got .* too; give several as a"
        ):
            await oban.retry(1, second)


async def test_retrying_a_unique_job_never_collides(engine: AsyncEngine) -> None:
    unique = noop.options(unique=Unique(states=("available", "scheduled")))
    [first] = await insert(engine, unique.new())
    await execute(engine, f"UPDATE oban_jobs SET state = 'discarded' WHERE id = {first}")
    [second] = await insert(engine, unique.new())
    assert second != first
    assert await Oban(engine).retry(first) == 1


async def test_a_retried_job_is_not_stopped_by_an_old_mark(engine: AsyncEngine) -> None:
    job_id = await in_state(engine, "completed")
    await execute(engine, "UPDATE oban_jobs SET cancel_at = now()")
    async with Oban(engine, {"q": 1}) as oban:
        await oban.retry(job_id)
        await until(engine, job_id, "completed")


@pytest.mark.parametrize(
    "state", ["available", "scheduled", "suspended", "retryable", "completed", "cancelled", "discarded"]
)
async def test_a_job_that_does_not_run_is_deleted(engine: AsyncEngine, state: str) -> None:
    job_id = await in_state(engine, state)
    assert await Oban(engine).delete(job_id) == 1
    assert await execute(engine, "SELECT 1 FROM oban_jobs") == []
    assert await Oban(engine).delete(job_id) == 0


async def test_a_running_job_is_never_deleted(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 1}) as oban:
        [job_id] = await insert(engine, waits.new())
        await eventually(lambda: jobs.events == ["started"])
        assert await oban.delete(select(Job)) == 0
        jobs.gate.set()
        await until(engine, job_id, "completed")


async def test_the_columns_of_a_waiting_job_are_replaced(engine: AsyncEngine) -> None:
    [job_id] = await insert(engine, adds.options(meta={"old": 1}, schedule_in=60).new(1))
    changed = await Oban(engine).update(
        job_id, queue="other", priority=9, max_attempts=3, tags=["a", "b"], meta={"new": 2}, args={"a": 5}
    )
    assert changed == 1
    job = await load(engine, job_id)
    assert (job.queue, job.priority, job.max_attempts, job.tags) == ("other", 9, 3, ["a", "b"])
    assert (job.meta, job.args) == ({"new": 2}, {"a": 5})


async def test_another_meta_leaves_what_the_package_has_noted_in_it(engine: AsyncEngine) -> None:
    oban = Oban(engine)
    flow = Workflow("noted")
    first = flow.add(adds.options(schedule_in=60, weight=3, meta={"old": 1}).new(1))
    flow.add(adds.new(first.result), name="last")
    async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
        session.add(flow)
    assert first.id is not None
    await execute(
        engine, 'UPDATE oban_jobs SET meta = meta || \'{"slept": 2, "waiting": "go"}\' WHERE id = :id', id=first.id
    )
    await oban.update(first.id, meta={"new": 2, "slept": 0})
    kept = {"keep_result": True, "weight": 3, "waiting": "go"}
    assert (await load(engine, first.id)).meta == {"new": 2, "slept": 0, **kept}
    await oban.update(first.id, meta={})
    assert (await load(engine, first.id)).meta == {"slept": 0, **kept}


async def test_a_new_time_moves_a_job_between_available_and_scheduled(engine: AsyncEngine) -> None:
    oban = Oban(engine)
    job_id = await in_state(engine, "available", attempt=0)
    due = datetime.now(UTC) + timedelta(hours=1)
    await oban.update(job_id, scheduled_at=due)
    job = await load(engine, job_id)
    assert (job.state, job.scheduled_at) == ("scheduled", due)
    await oban.update(job_id, schedule_in=0)
    assert (await load(engine, job_id)).state == "available"
    await oban.update(job_id, schedule_in=timedelta(minutes=1))
    assert (await load(engine, job_id)).state == "scheduled"
    retryable = await in_state(engine, "retryable")
    await oban.update(retryable, schedule_in=0)
    assert (await load(engine, retryable)).state == "retryable", "the stager takes it from there"


@pytest.mark.parametrize("change", [{"schedule_in": 0}, {"schedule_in": 0.3}])
async def test_a_job_that_is_moved_forward_runs_in_time(any_engine: AsyncEngine, change: Any) -> None:
    async with Oban(any_engine, {"default": 1}, poll_interval=ASLEEP) as oban:
        [job_id] = await insert(any_engine, noop.options(schedule_in=60).new())
        assert await oban.update(job_id, **change) == 1
        await until(any_engine, job_id, "completed")


async def test_a_job_that_is_moved_to_another_queue_wakes_it(engine: AsyncEngine) -> None:
    async with Oban(engine, {"q": 1}, poll_interval=ASLEEP) as oban:
        [job_id] = await insert(engine, noop.options(queue="nobody").new())
        await oban.update(job_id, queue="q")
        await until(engine, job_id, "completed")


@pytest.mark.parametrize("state", ["executing", "completed", "cancelled", "discarded"])
async def test_what_runs_or_has_finished_is_not_updated(engine: AsyncEngine, state: str) -> None:
    job_id = await in_state(engine, state)
    assert await Oban(engine).update(job_id, priority=1) == 0
    assert (await load(engine, job_id)).priority == 0


async def test_never_fewer_attempts_than_were_made(engine: AsyncEngine) -> None:
    ids = [await in_state(engine, "retryable", attempt=7), await in_state(engine, "retryable", attempt=1)]
    assert await Oban(engine).update(ids, max_attempts=2) == 2
    assert [(await load(engine, job_id)).max_attempts for job_id in ids] == [7, 2]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"prioritty": 1}, InvalidOption, "'prioritty' for update: did you mean 'priority'"),
        ({"state": "completed"}, InvalidOption, "unknown option 'state'"),
        ({}, InvalidOption, "no changes were given; expected some of queue, "),
        ({"priority": 10}, InvalidOption, "priority: expected 0 to 9"),
        ({"queue": " "}, InvalidOption, "queue"),
        ({"queue": None}, InvalidOption, "queue"),
        ({"max_attempts": 0}, InvalidOption, "max_attempts"),
        ({"tags": "a"}, InvalidOption, "tags"),
        ({"meta": {"x": float("nan")}}, InvalidArgs, "meta"),
        ({"scheduled_at": datetime(2030, 1, 1)}, InvalidOption, "no time zone"),
        ({"scheduled_at": datetime(2030, 1, 1, tzinfo=UTC), "schedule_in": 1}, InvalidOption, "both"),
        ({"args": {"a": "many"}}, InvalidArgs, "a"),
        ({"args": {"c": 1}}, InvalidArgs, "a|c"),
        ({"args": [1]}, InvalidArgs, "dict"),
    ],
)
async def test_bad_changes_are_refused(engine: AsyncEngine, changes: Any, error: Any, message: str) -> None:
    [job_id] = await insert(engine, adds.options(schedule_in=60).new(1))
    with pytest.raises(error, match=message):
        await Oban(engine).update(job_id, **changes)
    assert (await load(engine, job_id)).args == {"a": 1}


async def test_args_of_jobs_of_unknown_workers_are_checked_as_json(engine: AsyncEngine) -> None:
    await execute(engine, "INSERT INTO oban_jobs (worker, args) VALUES ('stranger', '{}')")
    oban = Oban(engine)
    assert await oban.update(select(Job), args={"x": [1, None]}) == 1
    with pytest.raises(InvalidArgs, match="x"):
        await oban.update(select(Job), args={"x": object()})


async def test_two_changes_at_once_neither_deadlock_nor_lose_each_other(engine: AsyncEngine) -> None:
    import asyncio

    ids = await insert(engine, *(noop.options(schedule_in=60).new() for _ in range(200)))
    oban = Oban(engine)
    for _ in range(5):
        await asyncio.gather(
            oban.update(list(reversed(ids)), priority=1),
            oban.update(ids, tags=["x"]),
            oban.update(select(Job), queue="z"),
        )
    rows = await execute(engine, "SELECT DISTINCT priority, tags, queue FROM oban_jobs")
    assert rows == [(1, ["x"], "z")]
