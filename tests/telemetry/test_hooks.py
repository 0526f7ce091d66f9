"""Hooks around jobs."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from oban_sqla import Batch, Cancel, Hook, InvalidOption, Job, Oban, current_job, job
from tests.cluster.helpers import QUICK, producer
from tests.runtime.helpers import execute, insert, until
from tests.support import eventually

calls: list[str] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    calls.clear()


class Notes:
    """Says what it is told; a plain class, without a base."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def before(self, job: Job) -> None:
        await asyncio.sleep(0)
        calls.append(f"{self.name} before {job.args}")

    def after(self, job: Job, state: str, error: BaseException | None) -> None:
        calls.append(f"{self.name} after {state} {error!r}")


class Refuses:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def before(self, job: Job) -> None:
        raise self.error


class BreaksAfter:
    async def after(self, job: Job, state: str, error: BaseException | None) -> None:
        raise RuntimeError("in after")


class Misspelt(Hook):
    def befor(self, job: Job) -> None: ...


class TooFew:
    def after(self, job: Job, state: str) -> None: ...


class OnlyAfter(Hook):
    async def after(self, job: Job, state: str, error: BaseException | None) -> None:
        calls.append(f"only after {state}")


@job(name="hooks.works", hooks=[Notes("inner")])
async def works(n: int) -> None:
    calls.append("run")


@job(name="hooks.fails", max_attempts=1)
def fails() -> None:
    raise ValueError("boom")


@job(name="hooks.hangs")
async def hangs() -> None:
    calls.append("run")
    await asyncio.sleep(30)


async def test_hooks_run_around_a_job_the_workers_own_inside(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 1}, hooks=[Notes("outer")]):
        [job_id] = await insert(engine, works.new(1))
        await until(engine, job_id, "completed")
    assert calls == [
        "outer before {'n': 1}",
        "inner before {'n': 1}",
        "run",
        "inner after completed None",
        "outer after completed None",
    ]


async def test_a_hook_that_inherits_overrides_one_method_or_both(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 1}, hooks=[OnlyAfter(), Hook()]):
        [job_id] = await insert(engine, works.options().new(1))
        await until(engine, job_id, "completed")
    assert calls == ["inner before {'n': 1}", "run", "inner after completed None", "only after completed"]


async def test_after_is_told_the_state_and_the_error(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 1}, hooks=[Notes("hook")]):
        [job_id] = await insert(engine, fails.new())
        await until(engine, job_id, "discarded")
    assert calls == ["hook before {}", "hook after discarded ValueError('boom')"]


async def test_a_hook_that_raises_before_makes_the_run_a_failure(engine: AsyncEngine) -> None:
    hooks = [Notes("first"), Refuses(RuntimeError("not today")), Notes("never")]
    async with Oban(engine, {"default": 1}, hooks=hooks):
        [job_id] = await insert(engine, works.new(1))
        failed = await until(engine, job_id, "retryable")
    assert "not today" in failed.errors[0]["error"]
    assert calls == ["first before {'n': 1}", "first after retryable RuntimeError('not today')"]


async def test_a_hook_may_decide_the_outcome(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 1}, hooks=[Refuses(Cancel("maintenance"))]):
        [job_id] = await insert(engine, works.new(1))
        assert (await until(engine, job_id, "cancelled")).errors[0]["error"] == "maintenance"
    assert calls == []


async def test_a_hook_that_raises_after_is_logged(engine: AsyncEngine, caplog: pytest.LogCaptureFixture) -> None:
    async with Oban(engine, {"default": 1}, hooks=[Notes("outer"), BreaksAfter()]):
        [job_id] = await insert(engine, works.new(1))
        await until(engine, job_id, "completed")
    assert "BreaksAfter" in caplog.text
    assert calls[-1] == "outer after completed None"


async def test_a_hook_that_hangs_after_does_not_lose_the_ack(engine: AsyncEngine) -> None:
    class Hangs:
        async def after(self, job: Job, state: str, error: BaseException | None) -> None:
            calls.append("hangs")
            await asyncio.sleep(30)

    async with Oban(engine, {"default": 1}, hooks=[Hangs()], shutdown_grace=0.1):
        [job_id] = await insert(engine, works.new(1))
        await eventually(lambda: "hangs" in calls)
    assert (await until(engine, job_id, "completed")).attempt == 1


async def test_after_sees_a_job_that_was_cancelled_from_outside(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 1}, hooks=[Notes("hook")]) as oban:
        [job_id] = await insert(engine, hangs.new())
        await eventually(lambda: "run" in calls)
        await oban.cancel(job_id)
        await until(engine, job_id, "cancelled")
    assert calls[-1] == "hook after cancelled CancelledError()"


async def test_a_job_with_a_session_is_committed_when_after_runs(engine: AsyncEngine) -> None:
    seen: list[Any] = []

    class Looks:
        async def before(self, job: Job) -> None:
            assert current_job() is job

        async def after(self, job: Job, state: str, error: BaseException | None) -> None:
            seen.extend(await execute(engine, "SELECT state::text FROM oban_jobs"))

    @job(name="hooks.commits")
    async def commits(session: AsyncSession) -> None:
        await session.execute(text("SELECT 1"))

    async with Oban(engine, {"default": 1}, hooks=[Looks()], sessionmaker=async_sessionmaker(engine)):
        [job_id] = await insert(engine, commits.new())
        await until(engine, job_id, "completed")
        await eventually(lambda: seen)
    assert seen == [("completed",)]


async def test_a_job_that_ends_while_it_does_not_run_calls_its_batch_back_and_no_hook(engine: AsyncEngine) -> None:
    told: list[tuple[int, str]] = []

    @job(name="hooks.told", queue="told")
    async def tell(batch: Batch, job: Job) -> None:
        told.extend((ended.args["n"], f"{ended.state} {job.meta['callback']}") for ended in batch.jobs)

    late = works.options(deadline=60, scheduled_at=datetime.now(UTC) - timedelta(hours=1))
    specs = [works.options(schedule_in=60).new(0), late.new(1), works.options(queue="gone", max_attempts=1).new(2)]
    batches = [Batch([spec], on_cancelled=tell.new(), on_discarded=tell.new()) for spec in specs]
    async with AsyncSession(engine) as session, session.begin():
        session.add_all(batches)
    run = (
        f"attempt = 1, attempted_at = timezone('UTC', now()), attempted_by = ARRAY['gone', '{await producer(engine)}']"
    )
    await execute(engine, f"UPDATE oban_jobs SET state = 'executing', {run} WHERE id = {specs[2].id}")
    async with Oban(engine, {"default": 1, "told": 1}, hooks=[OnlyAfter()], poll_interval=0.1, **QUICK) as oban:
        assert await oban.cancel(specs[0]) == 1
        await eventually(lambda: len(told) == 3)
    assert sorted(told) == [(0, "cancelled cancelled"), (1, "cancelled cancelled"), (2, "discarded discarded")]
    assert set(calls) <= {"only after completed"}, "a hook is told of the callbacks alone, which run"


@pytest.mark.parametrize(
    ("hooks", "message"),
    [
        ([object()], "a method before"),
        ([Misspelt()], "a method before"),
        ([TooFew()], r"is called as after\(job, state, error\), and that does not fit: too many positional"),
        ([Notes], r"Notes\(\) instead of Notes"),
        ("notes", "list of objects"),
        (Notes("x"), "list of objects"),
    ],
)
def test_anything_but_a_hook_is_refused(hooks: Any, message: str) -> None:
    from sqlalchemy.ext.asyncio import create_async_engine

    with pytest.raises(InvalidOption, match=f"Oban.*{message}"):
        Oban(create_async_engine("postgresql+asyncpg://localhost/app"), hooks=hooks)
    with pytest.raises(InvalidOption, match=message):
        job(name="hooks.bad", hooks=hooks)(fails._fn)
