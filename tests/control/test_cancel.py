"""Cancelling: at once what has not started, and within a second what runs, wherever it runs."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import aliased

from oban_sqla import InvalidOption, Job, JobSpec, Oban, Unique, enqueue
from tests.control import jobs
from tests.control.conftest import IN_TIME, Place, with_psycopg
from tests.control.jobs import asks, deaf, fails_when_cancelled, noop, stubborn, waits, writes
from tests.runtime.helpers import execute, insert, load, until, wake
from tests.support import eventually

BY_REQUEST = ["cancelled by request"]


@pytest.fixture(autouse=True)
def _fresh() -> None:
    jobs.reset()


def said(job: Job) -> list[str]:
    return [entry["error"] for entry in job.errors]


async def started(place: Place, oban: Oban, *specs: JobSpec) -> list[int]:
    ids = await insert(place.engine, *specs)
    wake(oban, "default")
    await eventually(lambda: jobs.events.count("started") == len(specs))
    return ids


@with_psycopg
@pytest.mark.parametrize("worker", [waits, asks])
async def test_a_running_job_stops_within_a_second(place: Place, worker: Any) -> None:
    async with place.node() as oban:
        [job_id] = await started(place, oban, worker.new())
        began = time.monotonic()
        assert await place.operator.cancel(job_id) == 1
        job = await until(place.engine, job_id, "cancelled")
        assert time.monotonic() - began < IN_TIME
    assert jobs.events[-1] in ("cancelled", "told")
    assert said(job) == BY_REQUEST
    assert (job.errors[0]["attempt"], job.attempt) == (1, 1)
    assert job.cancelled_at is not None
    assert await execute(place.engine, "SELECT cancel_at FROM oban_jobs") == [(None,)]


async def test_a_job_that_ends_in_spite_of_it_stays_completed(place: Place) -> None:
    async with place.node() as oban:
        ids = await started(place, oban, deaf.new(), stubborn.new())
        assert await oban.cancel(ids) == 2
        again = await oban.cancel(ids)
        await eventually(lambda: "cancelled" in jobs.events)
        jobs.gate.set()
        for job_id in ids:
            assert (await until(place.engine, job_id, "completed")).errors == []
        assert jobs.events.count("cancelled") == 1, "it is asked once: its clean-up may take a while"
        assert await oban.result(ids[1]) == "done"
    assert again == 0, "they had been asked already"


async def test_a_job_that_fails_while_it_is_cancelled_does_not_run_again(place: Place) -> None:
    async with place.node() as oban:
        [job_id] = await started(place, oban, fails_when_cancelled.new())
        await oban.cancel(job_id)
        job = await until(place.engine, job_id, "cancelled")
    first, second = said(job)
    assert "its clean-up failed" in first
    assert second == "cancelled by request"


async def test_the_writes_of_a_cancelled_job_are_rolled_back(engine: AsyncEngine) -> None:
    await execute(engine, "CREATE TABLE effects (n int)")
    try:
        async with Oban(engine, {"default": 1}, sessionmaker=async_sessionmaker(engine)) as oban:
            [job_id] = await insert(engine, writes.new())
            await eventually(lambda: jobs.events == ["started"])
            await oban.cancel(job_id)
            await until(engine, job_id, "cancelled")
            assert await execute(engine, "SELECT * FROM effects") == []
    finally:
        await execute(engine, "DROP TABLE effects")


async def test_a_mark_that_comes_when_the_run_is_over_still_counts(engine: AsyncEngine) -> None:
    """The run has failed, its ack is on the way, and the request commits before it."""
    async with Oban(engine, {"default": 1}) as oban:
        node = oban._node
        assert node is not None
        release = node.acks.step

        async def held() -> None:
            return None

        node.acks.step = held  # type: ignore[method-assign]
        [job_id] = await insert(engine, jobs.boom.new())
        await eventually(lambda: len(node.acks) == 1)
        assert await oban.cancel(job_id) == 1
        node.acks.step = release  # type: ignore[method-assign]
        node.acks.wake()
        job = await until(engine, job_id, "cancelled")
    assert "boom" in said(job)[0]
    assert said(job)[1:] == BY_REQUEST


async def test_what_has_not_started_is_cancelled_at_once(engine: AsyncEngine) -> None:
    ids = await insert(engine, noop.new(), noop.options(schedule_in=60).new(), noop.new(), noop.new(), noop.new())
    await execute(engine, f"UPDATE oban_jobs SET state = 'retryable' WHERE id = {ids[2]}")
    await execute(engine, f"UPDATE oban_jobs SET state = 'suspended' WHERE id = {ids[3]}")
    await execute(engine, f"UPDATE oban_jobs SET state = 'completed' WHERE id = {ids[4]}")
    oban = Oban(engine)
    assert await oban.cancel(ids) == 4
    assert await oban.cancel(ids) == 0, "they are cancelled already"
    cancelled = [await load(engine, job_id) for job_id in ids]
    assert [job.state for job in cancelled] == ["cancelled"] * 4 + ["completed"]
    assert all(job.cancelled_at is not None for job in cancelled[:4])


async def test_the_key_of_a_unique_job_is_free_again(engine: AsyncEngine) -> None:
    oban = Oban(engine)
    unique = noop.options(unique=Unique(), schedule_in=60)
    [first] = await insert(engine, unique.new())
    await oban.cancel(first)
    [spec] = await oban.enqueue(unique.new())
    assert not spec.conflict
    assert await oban.retry(first) == 1, "and retrying the old one never collides"


async def test_targets_are_ids_jobs_specs_lists_and_selects(engine: AsyncEngine) -> None:
    oban = Oban(engine)
    specs = await oban.enqueue([noop.options(schedule_in=60, tags=[str(n)]).new() for n in range(9)])
    ids = [spec.id for spec in specs if spec.id is not None]
    assert await oban.cancel(ids[0]) == 1
    assert await oban.cancel(specs[1]) == 1
    assert await oban.cancel(await load(engine, ids[2])) == 1
    assert await oban.cancel([ids[3], specs[4], await load(engine, ids[5])]) == 3
    assert await oban.cancel(select(Job).where(Job.tags.contains(["6"]))) == 1
    other = aliased(Job)
    assert await oban.cancel(select(other).where(other.id == ids[7])) == 1, "an alias is not the whole table"
    assert (await load(engine, ids[8])).state == "scheduled"
    assert await oban.cancel(select(Job.id).order_by(Job.id.desc()).limit(1)) == 1
    assert await oban.cancel([]) == 0
    assert await oban.cancel(-1) == 0


@pytest.mark.parametrize("target", ["7", None, True, 1.5, ["7"], select(Job.id, Job.queue), noop.new()])
async def test_anything_else_is_refused(engine: AsyncEngine, target: Any) -> None:
    with pytest.raises(InvalidOption, match="expected|not been enqueued"):
        await Oban(engine).cancel(target)


@with_psycopg
async def test_in_a_session_it_takes_effect_with_the_commit(place: Place) -> None:
    async with place.node() as oban:
        [running] = await started(place, oban, waits.new())
        async with AsyncSession(place.engine) as session:
            assert await oban.cancel(running, session) == 1
            await session.rollback()
        async with AsyncSession(place.engine) as session:
            spec = noop.options(schedule_in=60).new()
            session.add(spec)
            assert await oban.cancel(spec, session) == 1, "what is pending is flushed first"
            assert await oban.cancel(select(Job).where(Job.id == running), session) == 1
            assert jobs.events == ["started"]
            await session.commit()
        await until(place.engine, running, "cancelled")
        assert jobs.events == ["started", "cancelled"]
        assert spec.id is not None
        assert (await load(place.engine, spec.id)).state == "cancelled"


async def test_jobs_that_the_session_has_loaded_are_up_to_date(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        [spec] = await enqueue(session, noop.options(schedule_in=60).new())
        job = (await session.execute(select(Job).where(Job.id == spec.id))).scalar_one()
        oban = Oban(engine)
        await oban.cancel(job, session)
        assert job.state == "cancelled"
        assert job.cancelled_at is not None
        await oban.retry(job, session)
        again: tuple[str, datetime | None] = (job.state, job.cancelled_at)
        assert again == ("available", None)
        await oban.delete(job, session)
        assert job not in session


async def test_a_job_may_cancel_others_in_its_own_transaction(engine: AsyncEngine) -> None:
    [other] = await insert(engine, noop.options(schedule_in=60).new())
    async with AsyncSession(engine) as session, session.begin():
        await Oban(engine).cancel(other, session)
        async with AsyncSession(engine) as outside:
            assert (await outside.get_one(Job, other)).state == "scheduled"
    assert (await load(engine, other)).state == "cancelled"


async def test_a_session_of_the_wrong_kind_is_refused(engine: AsyncEngine) -> None:
    with pytest.raises(InvalidOption, match="AsyncSession"):
        await Oban(engine).cancel(1, engine)  # type: ignore[arg-type]


async def test_a_hundred_running_jobs_are_cancelled_by_one_call(place: Place) -> None:
    async with place.node(queues={"default": 100}) as oban:
        ids = await started(place, oban, *(waits.new() for _ in range(100)))
        began = time.monotonic()
        assert await place.operator.cancel(select(Job).where(Job.worker == waits)) == 100

        async def all_cancelled() -> bool:
            rows = await execute(place.engine, "SELECT state::text, count(*) FROM oban_jobs GROUP BY 1")
            return bool(rows == [("cancelled", len(ids))])

        await eventually(all_cancelled)
        assert time.monotonic() - began < IN_TIME
