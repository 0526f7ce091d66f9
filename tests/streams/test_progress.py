"""How far a job has come, as others see it."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from oban_sqla import InvalidOption, Job, JobSpec, NotInJob, Oban, Progress, emit, job, progress
from oban_sqla.models.progress import JobProgress
from oban_sqla.runtime.journal import scribe
from tests.runtime.helpers import execute, finished, insert, load, until

go_on = asyncio.Event()


@pytest.fixture(autouse=True)
def _fresh() -> None:
    global go_on
    go_on = asyncio.Event()


@job(name="progress.waits")
async def waits() -> None:
    await progress(3, 12, "reading")
    await go_on.wait()
    await progress(12, 12)


@job(name="progress.often")
async def often(calls: int) -> None:
    for number in range(1, calls + 1):
        await progress(number, calls)
        await asyncio.sleep(0)


@job(name="progress.thread")
def in_a_thread() -> None:
    for number in range(1, 101):
        progress(number, note=f"step {number}")


@job(name="progress.fails", max_attempts=1)
async def fails() -> None:
    await progress(1, 2)
    raise ValueError("half way")


async def test_others_see_it_while_the_job_runs_and_after(any_engine: AsyncEngine) -> None:
    async with Oban(any_engine, {"default": 2}):
        [job_id] = await insert(any_engine, waits.new())
        running = await until(any_engine, job_id, lambda job: job.progress is not None)
        assert running.progress is not None
        assert (running.progress.done, running.progress.total, running.progress.note) == (3, 12, "reading")
        assert isinstance(running.progress.done, int)
        assert running.progress.fraction == 0.25
        assert running.progress.at.utcoffset() is not None
        go_on.set()
        [ended] = await finished(any_engine, [job_id])
        assert ended.progress is not None
        assert ended.progress == Progress(12, 12, None, ended.progress.at)
        assert ended.progress.at >= running.progress.at


async def test_a_job_that_says_nothing_has_none(engine: AsyncEngine) -> None:
    [job_id] = await insert(engine, fails.new())
    assert (await load(engine, job_id)).progress is None


async def test_a_query_can_ask_for_it(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 2}):
        ids = await insert(engine, often.new(3), often.new(30))
        await finished(engine, ids)
    async with AsyncSession(engine) as session:
        by_progress: Any = Job.progress
        assert (await session.scalars(select(Job.id).where(by_progress.done > 10))).all() == [ids[1]]
        pairs = (await session.execute(select(Job.id, Job.progress).order_by(by_progress.total.desc()))).all()
        assert [(job_id, said and said.done) for job_id, said in pairs] == [(ids[1], 30), (ids[0], 3)]
        locked = await session.scalars(select(Job).where(Job.id.in_(ids)).with_for_update())
        assert len(locked.all()) == 2


async def test_each_part_of_it_is_in_sql_what_it_is_in_python(engine: AsyncEngine) -> None:
    parts = [(1.0, 4.0), (9.0, 4.0), (-1.0, 4.0), (1.0, 0.0), (1.0, None)]
    async with AsyncSession(engine) as session:
        jobs = [JobSpec("tests.unknown") for _ in parts]
        session.add_all(jobs)
        await session.flush()
        session.add_all(
            JobProgress(job_id=spec.id, done=done, total=total, note="n", at=datetime(2026, 5, 1, 12, 0, 0, 123, UTC))
            for spec, (done, total) in zip(jobs, parts, strict=True)
        )
        await session.flush()
        of: Any = Job.progress
        query = select(of, of.done, of.total, of.note, of.at, of.fraction).order_by(Job.id)
        rows = (await session.execute(query)).all()
        assert [tuple(row[1:]) for row in rows] == [
            (said.done, said.total, said.note, said.at, said.fraction) for said, *_ in rows
        ]
        assert [row[5] for row in rows] == [0.25, 1.0, 0.0, None, None]
        assert (
            len((await session.scalars(select(Job.progress))).all())
            == len((await session.scalars(select(of.at))).all())
            == 5
        )
        still = select(func.count()).where(of.at < func.now() - timedelta(minutes=5))
        assert await session.scalar(still) == 5


async def test_it_is_written_at_most_once_a_second_and_the_last_one_always(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await execute(engine, "CREATE TABLE progress_writes (done float)")
    await execute(
        engine,
        "CREATE FUNCTION count_progress() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO progress_writes VALUES (NEW.done); RETURN NEW; END $$",
    )
    await execute(
        engine,
        "CREATE TRIGGER counts AFTER INSERT OR UPDATE ON oban_progress FOR EACH ROW EXECUTE FUNCTION count_progress()",
    )
    try:
        monkeypatch.setattr(scribe, "PROGRESS_EVERY", 3600.0)
        async with Oban(engine, {"default": 2}):
            [job_id] = await insert(engine, often.new(2_000))
            await finished(engine, [job_id])
        written = [done for (done,) in await execute(engine, "SELECT done FROM progress_writes")]
        assert written[-1] == 2_000
        assert len(written) <= 2, "the first one, and the one at the end"
    finally:
        await execute(engine, "DROP TRIGGER counts ON oban_progress")
        await execute(engine, "DROP FUNCTION count_progress")
        await execute(engine, "DROP TABLE progress_writes")


async def test_a_plain_function_needs_no_await(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 2}):
        [job_id] = await insert(engine, in_a_thread.new())
        [ended] = await finished(engine, [job_id])
    assert ended.progress is not None
    assert (ended.progress.done, ended.progress.total, ended.progress.note) == (100, None, "step 100")


async def test_a_job_that_fails_keeps_how_far_it_came(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 2}):
        [job_id] = await insert(engine, fails.new())
        ended = await until(engine, job_id, "discarded")
    assert ended.progress is not None
    assert ended.progress.done == 1


async def test_the_row_of_the_job_is_not_touched(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 2}):
        [job_id] = await insert(engine, waits.new())
        await until(engine, job_id, "executing")
        [(before,)] = await execute(engine, "SELECT xmin::text FROM oban_jobs")
        await until(engine, job_id, lambda job: job.progress is not None)
        [(after,)] = await execute(engine, "SELECT xmin::text FROM oban_jobs")
        assert before == after
        go_on.set()
        await finished(engine, [job_id])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("3",), "done must be a number"),
        ((True,), "done must be a number"),
        ((float("nan"),), "done must be a finite number"),
        ((1, float("inf")), "total must be a finite number"),
        ((1, 2, 3), "note must be text"),
    ],
)
async def test_an_invalid_progress_is_refused(engine: AsyncEngine, given: tuple[Any, ...], said: str) -> None:
    raised: list[Exception] = []

    @job(name="progress.refused", max_attempts=1)
    async def refused() -> None:
        try:
            await progress(*given)
        except InvalidOption as error:
            raised.append(error)

    async with Oban(engine, {"default": 2}):
        await finished(engine, await insert(engine, refused.new()))
    assert said in str(raised[0])


def test_outside_of_a_job_there_is_no_progress() -> None:
    with pytest.raises(NotInJob, match=r"progress\(\) was called outside of a job; .* in a test .*: perform\(fn\.new"):
        progress(1)
    with pytest.raises(NotInJob, match=r"emit\(\) was called outside of a job"):
        emit(1)


async def test_a_thread_that_outlives_its_run_writes_nothing(engine: AsyncEngine) -> None:
    ended = threading.Event()
    threads: list[threading.Thread] = []

    @job(name="progress.leaves_a_thread")
    def leaves_a_thread() -> None:
        def late() -> None:
            ended.wait(10)
            progress(1)

        threads.append(threading.Thread(target=contextvars.copy_context().run, args=(late,)))
        threads[0].start()

    async with Oban(engine, {"default": 2}):
        [job_id] = await insert(engine, leaves_a_thread.new())
        await finished(engine, [job_id])
        ended.set()
        await asyncio.to_thread(threads[0].join)
    assert (await load(engine, job_id)).progress is None
