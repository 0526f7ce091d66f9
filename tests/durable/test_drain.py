"""Long jobs in a user's tests: steps last, time is moved, signals are given."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from oban_sqla import InvalidOption, Job, Oban, ObanError, job
from oban_sqla.durable import step, sync, wait_for
from oban_sqla.models import Step
from oban_sqla.testing import clock, drain, mode, perform
from tests.durable import jobs

DAY = timedelta(days=1)


async def effects(session: AsyncSession) -> list[str]:
    return list((await session.execute(text("SELECT what FROM durable_effects ORDER BY id"))).scalars())


async def test_steps_last_when_their_job_fails(any_engine: AsyncEngine) -> None:
    async with AsyncSession(any_engine) as session:
        jobs.failing.add("once")
        session.add(spec := jobs.order.new(7, fail="once"))
        assert await drain(session) == {"retryable": 1}
        assert await effects(session) == ["book 7"]
        assert await drain(session, with_scheduled=True) == {"completed": 1}
        assert jobs.calls == {"charge": 1, "book": 1, "count_up": 1, "runs": 2}
        assert await effects(session) == ["book 7"]
        kept = await session.scalars(select(Step.name).where(Step.job_id == spec.id).order_by(Step.name))
        assert list(kept) == ["book", "charge", "count"]
        await session.rollback()
        assert await session.scalar(select(Step.name)) is None


async def test_time_is_moved_by_until(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        session.add_all([jobs.nap.new(3 * 86_400), jobs.nap.new(60)])
        assert await drain(session) == {"scheduled": 2}
        assert await drain(session, until=timedelta(hours=1)) == {"completed": 1}
        assert await drain(session, until=datetime.now(UTC) + 4 * DAY) == {"completed": 1}
        assert jobs.calls["slept"] == 2


async def test_a_job_that_sleeps_again_and_again_runs_to_its_end_in_one_drain(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        session.add(jobs.naps.new(times=5, seconds=86_400))
        assert await drain(session, until=10 * DAY) == {"completed": 1}
        assert jobs.calls == {"begun": 6}


async def test_the_clock_holds_for_several_drains(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        with clock() as time:
            session.add(jobs.naps.new(times=2, seconds=86_400))
            assert await drain(session) == {"scheduled": 1}
            time.move(DAY)
            assert await drain(session) == {"scheduled": 1}
            assert await drain(session, until=DAY) == {"completed": 1}
            with pytest.raises(InvalidOption, match="time can't be moved back"):
                time.move_to(time.now - DAY)
        with pytest.raises(InvalidOption, match="expected a datetime with a time zone"):
            clock(datetime(2026, 1, 1))
        for wrong in ("2 days", -1):
            said = "drain: until must be an aware datetime, or a timedelta or seconds (0 or more), got "
            with pytest.raises(InvalidOption, match=re.escape(f"{said}{wrong!r}")):
                await drain(session, until=wrong)  # type: ignore[arg-type]  # what is refused
        with pytest.raises(InvalidOption, match="got both until and with_scheduled"):
            await drain(session, until=1, with_scheduled=True)


async def test_a_signal_is_given_by_a_node_that_does_not_run(engine: AsyncEngine) -> None:
    oban = Oban(engine)
    async with AsyncSession(engine) as session:
        session.add(spec := jobs.approval.new(timeout=2 * 86_400))
        assert await drain(session) == {"scheduled": 1}
        assert await drain(session, until=DAY) == {}
        assert await oban.signal(spec, "approved", {"by": "ann"}, session)
        assert await drain(session) == {"completed": 1}
        job = await session.get_one(Job, spec.id)
        assert job.meta["return"] == [{"by": "ann"}]


async def test_a_deadline_comes_when_time_is_moved(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        session.add(jobs.approval.options(max_attempts=1).new(timeout=2 * 86_400))
        drained = await drain(session, until=3 * DAY)
        assert drained == {"discarded": 1}
        assert "SignalTimeout" in repr(drained)


async def test_a_plain_session_has_long_jobs_too(sync_engine: Engine) -> None:
    def test() -> None:
        with Session(sync_engine) as session:
            session.add(jobs.order_here.new(7))
            assert drain(session, until=60) == {"completed": 1}
            assert list(session.execute(text("SELECT what FROM durable_effects")).scalars()) == ["book 7"]

    import asyncio

    await asyncio.to_thread(test)


async def test_inline_a_job_runs_to_its_first_sleep(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        async with mode("inline"):
            session.add(spec := jobs.writes_after_sleep.new())
            await session.flush()
        assert await effects(session) == ["step"]
        assert await drain(session, until=60) == {"completed": 1}
        assert await effects(session) == ["step", "end"]
        assert (await session.get_one(Job, spec.id)).attempt == 1


async def test_perform_calls_each_step_and_sleeps_no_time(engine: AsyncEngine) -> None:
    assert await perform(jobs.nap.new(86_400)) == "awake"
    async with AsyncSession(engine) as session:
        assert (await perform(jobs.order.new(3), session=session))["booked"] == 4
        assert await effects(session) == ["book 3"]
        jobs.bodies["body"] = lambda: step("book", jobs.book, 4)
        assert await perform(jobs.with_session.new(name="body"), session=session) == 5
        assert await effects(session) == ["book 3", "own body", "book 4"]
    jobs.bodies["wait"] = lambda: wait_for("approved")
    with pytest.raises(ObanError, match="the job waits for the signal 'approved', and a job without a row gets none"):
        await perform(jobs.anything.new(name="wait"))


@job(name="durable.plain_in_coroutine", max_attempts=1)
async def plain_in_coroutine() -> None:
    sync.step("a", int)


async def test_a_drain_says_that_a_coroutine_takes_the_other_names(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        session.add(plain_in_coroutine.new())
        said = await drain(session)
    assert "oban_sqla.durable.sync is for plain functions" in str(said.errors[0])
