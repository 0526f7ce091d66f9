"""What jobs tell that run in other processes, and in tests."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session

from oban_sqla import InvalidOption, Job, JobLogs, Oban, Processes, emit, job, progress
from oban_sqla.executors import perform
from oban_sqla.models import JobEvent
from oban_sqla.models.events import EventKind
from oban_sqla.runtime.journal.job_log import JobLog
from oban_sqla.testing import drain, mode
from oban_sqla.testing import perform as perform_here
from tests.executors import jobs
from tests.runtime.helpers import finished, insert
from tests.streams.test_events import read

logger = logging.getLogger("tests.elsewhere")

CHILDREN = Processes(size=1, sessionmaker="tests.executors.jobs:Session")


@job(name="elsewhere.tells", executor="elsewhere")
def tells() -> None:
    emit("first")
    progress(1, 2)
    emit("second")


async def test_a_job_in_a_child_tells_as_at_home(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OBAN_TEST_CHILD_URL", engine.url.render_as_string(hide_password=False))
    maker = async_sessionmaker(engine, expire_on_commit=False)
    options: Any = {"sessionmaker": maker, "processes": CHILDREN, "job_logs": JobLogs("WARNING", most=100)}
    async with Oban(engine, {"children": 10}, **options) as oban:
        many, in_session = await insert(engine, jobs.tells.new(7_000), jobs.tells_in_session.new())
        assert await read(oban, many) == [(number, number) for number in range(1, 7_001)]
        assert await read(oban, in_session) == [(1, 1), (2, 2), (3, 3)]
        ended, other = await finished(engine, [many, in_session])
        assert ended.progress is not None
        assert ended.progress.done == ended.progress.total == 7_000
        assert other.progress is not None
        assert other.progress.note == "done"
        log = await oban.logs(many)
        assert [line.message for line in log] == [f"line {number}" for number in range(6_901, 7_001)]
        assert await oban.logs(in_session) == []


class Elsewhere:
    """An executor whose other end is a thread of this process."""

    async def start(self, workers: Any) -> None: ...

    def submit(self, payload: bytes) -> Any:
        return asyncio.ensure_future(asyncio.to_thread(perform, payload))

    async def kill(self, run: Any) -> bool:
        return False

    async def stop(self) -> None: ...


async def test_what_a_job_tells_on_another_machine_comes_with_its_answer(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 2}, executors={"elsewhere": Elsewhere()}) as oban:
        [job_id] = await insert(engine, tells.new())
        assert await read(oban, job_id) == [(1, "first"), (2, "second")]
        [ended] = await finished(engine, [job_id])
        assert ended.progress is not None
        assert ended.progress.fraction == 0.5


@job(name="elsewhere.logs", executor="elsewhere")
def logs(count: int) -> None:
    for number in range(1, count + 1):
        logger.warning("line %d", number)


async def test_the_log_of_a_job_on_another_machine_comes_with_its_answer(engine: AsyncEngine) -> None:
    kept = JobLogs("WARNING", most=3)
    async with Oban(engine, {"default": 2}, executors={"elsewhere": Elsewhere()}, job_logs=kept) as oban:
        [job_id] = await insert(engine, logs.new(10))
        await finished(engine, [job_id])
        lines = [(line.number, line.message, line.logger) for line in await oban.logs(job_id)]
        assert lines == [(number, f"line {number}", "tests.elsewhere") for number in (8, 9, 10)]
    assert not any(isinstance(handler, JobLog) for handler in logging.getLogger().handlers)


@job(name="elsewhere.here", max_attempts=2)
async def here(fails: bool) -> str:
    await emit({"fails": fails})
    await progress(1, 4, "here")
    if fails:
        raise ValueError("after it has told something")
    return "told"


@job(name="elsewhere.talks", max_attempts=2)
async def talks(count: int) -> None:
    for number in range(count):
        logger.warning("line %d", number)
    raise ValueError("after it has logged")


@job(name="elsewhere.plain")
def plain() -> None:
    emit("plain")
    progress(2)


async def told(session: AsyncSession) -> list[Any]:
    rows = await session.scalars(select(JobEvent).order_by(JobEvent.job_id, JobEvent.n))
    return [(row.n, row.value) for row in rows]


async def test_drain_writes_what_the_jobs_tell(any_engine: AsyncEngine) -> None:
    async with AsyncSession(any_engine) as session:
        specs = [here.new(True), here.new(False), plain.new()]
        session.add_all(specs)
        assert await drain(session) == {"retryable": 1, "completed": 2}
        assert await told(session) == [(1, {"fails": True}), (1, {"fails": False}), (1, "plain")]
        assert await drain(session, with_scheduled=True) == {"discarded": 1}
        assert (await told(session))[:2] == [(1, {"fails": True}), (2, {"fails": True})]
        jobs_now = list(await session.scalars(select(Job).order_by(Job.id)))
        assert [each.progress and each.progress.done for each in jobs_now] == [1, 1, 2]
        await session.rollback()
        assert await told(session) == []


async def test_drain_keeps_the_logs_of_jobs_if_it_is_asked_to(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        session.add(talks.new(3))
        await drain(session)
        assert await told(session) == []
        await drain(session, with_scheduled=True, job_logs=JobLogs(most=2))
        rows = (await session.scalars(select(JobEvent).order_by(JobEvent.n))).all()
        assert [(row.n, row.kind, row.value["message"], row.value["attempt"]) for row in rows] == [
            (2, EventKind.LOG, "line 1", 2), (3, EventKind.LOG, "line 2", 2)
        ]  # fmt: skip
        with pytest.raises(InvalidOption, match="drain: job_logs must be JobLogs"):
            await drain(session, job_logs=True)  # type: ignore[call-overload]


async def test_inline_jobs_tell_too(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session, mode("inline"):
        session.add(here.new(False))
        await session.flush()
        assert await told(session) == [(1, {"fails": False})]


async def test_inline_jobs_keep_their_logs_if_they_are_asked_to(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        async with mode("inline", job_logs=JobLogs(most=2)):
            session.add(talks.new(3))
            await session.flush()
        rows = (await session.scalars(select(JobEvent).order_by(JobEvent.n))).all()
        assert [(row.kind, row.value["message"]) for row in rows] == [
            (EventKind.LOG, "line 1"), (EventKind.LOG, "line 2")
        ]  # fmt: skip
    with pytest.raises(InvalidOption, match="mode: job_logs must be JobLogs"):
        mode("inline", job_logs=True)  # type: ignore[arg-type]


def test_a_session_without_a_loop_drains_what_tells(sync_engine: Engine) -> None:
    with Session(sync_engine) as session:
        session.add_all([here.new(False), plain.new()])
        assert drain(session) == {"completed": 2}
        assert [row.value for row in session.scalars(select(JobEvent).order_by(JobEvent.job_id))] == [
            {"fails": False},
            "plain",
        ]


async def test_perform_takes_what_the_job_tells() -> None:
    assert await perform_here(here.new(False)) == "told"
    assert perform_here(plain.new()) is None
