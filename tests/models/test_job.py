"""The mapped Job: its states, its hybrids, and what it is compared with."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, create_engine, func, select, text, update
from sqlalchemy.exc import DataError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from oban_sqla import CronEntry, Job, JobSpec, JobState, job, worker
from oban_sqla.types import FINISHED

TOKYO = {"options": "-c timezone=Asia/Tokyo"}


@job(name="tests.models.send")
async def send(user_id: int) -> None: ...


@worker(name="tests.models.Report")
class Report:
    async def process(self, job: Job) -> None: ...


@pytest.fixture
def session(sync_engine: Engine) -> Iterator[Session]:
    engine = create_engine(sync_engine.url, connect_args=TOKYO)
    with Session(engine) as session:
        yield session
    engine.dispose()


def add(session: Session, **values: object) -> Job:
    session.add(spec := JobSpec("w"))
    session.flush()
    if values:
        session.execute(update(Job).where(Job.id == spec.id).values(**values))
    return session.get_one(Job, spec.id, populate_existing=True)


@pytest.mark.parametrize("state", JobState)
def test_is_finished_is_the_same_in_python_and_in_sql(session: Session, state: JobState) -> None:
    job = add(session, state=state)
    assert job.state is state
    assert job.is_finished is (state in FINISHED) is state.is_finished
    assert session.scalars(select(Job.is_finished)).one() is job.is_finished
    assert session.scalars(select(Job.id).where(~Job.is_finished)).all() == ([] if job.is_finished else [job.id])


ENDS = ["completed_at", "discarded_at", "cancelled_at"]


@pytest.mark.parametrize("end", ENDS)
def test_duration_and_queue_time_are_the_same_in_python_and_in_sql(session: Session, end: str) -> None:
    due = datetime(2030, 1, 2, 3, 4, 5, 600, tzinfo=UTC)
    start = due + timedelta(seconds=2)
    job = add(session, scheduled_at=due, attempted_at=start, **{end: start + timedelta(minutes=3)})
    assert (job.queue_time, job.duration) == (timedelta(seconds=2), timedelta(minutes=3))
    assert session.execute(select(Job.queue_time, Job.duration)).one() == (job.queue_time, job.duration)
    slow = Job.duration > timedelta(minutes=2)
    assert session.scalars(select(Job.id).where(slow, Job.queue_time < timedelta(seconds=3))).all() == [job.id]


def test_duration_and_queue_time_are_none_before_the_first_attempt(session: Session) -> None:
    job = add(session)
    assert (job.queue_time, job.duration) == (None, None)
    assert session.execute(select(Job.queue_time, Job.duration)).one() == (None, None)


def test_duration_of_a_running_job_and_age_grow_until_now(session: Session) -> None:
    hour = timedelta(hours=1)
    past = func.timezone("UTC", func.now() - hour)
    job = add(session, state="executing", attempted_at=past, inserted_at=past)
    [duration, age] = session.execute(select(Job.duration, Job.age)).one()
    assert duration == age == hour
    for value in (job.duration, job.age):
        assert value is not None
        assert hour <= value < hour + timedelta(minutes=1)
    assert session.scalars(select(Job.id).where(Job.age > hour / 2, Job.age < hour * 2)).all() == [job.id]


def test_worker_is_compared_with_the_worker_itself(session: Session) -> None:
    session.add_all([send.new(user_id=1), Report.new({"id": 2}), JobSpec("other")])
    session.flush()

    def workers(*condition: object) -> list[str]:
        return list(session.scalars(select(Job.worker).where(*condition).order_by(Job.id)))  # type: ignore[arg-type]

    assert workers(Job.worker == send) == ["tests.models.send"]
    assert workers(Job.worker == Report) == ["tests.models.Report"]
    assert workers(Job.worker == "other") == ["other"]
    assert workers(Job.worker != send) == ["tests.models.Report", "other"]
    assert workers(Job.worker.in_([send, Report, "third"])) == ["tests.models.send", "tests.models.Report"]
    assert workers(Job.worker.like("tests.%")) == ["tests.models.send", "tests.models.Report"]


def test_args_are_compared_as_jsonb(session: Session) -> None:
    session.add_all([JobSpec("w", {"user": {"id": number}, "tags": ["a", str(number)]}) for number in range(3)])
    session.flush()

    def users(condition: object) -> list[int]:
        query = select(Job.args["user"]["id"].as_integer()).where(condition).order_by(Job.id)  # type: ignore[arg-type]
        return list(session.scalars(query))

    assert users(Job.args["user"]["id"].as_integer() > 0) == [1, 2]
    assert users(Job.args[("user", "id")].as_string() == "2") == [2]
    assert users(Job.args.contains({"tags": ["1"]})) == [1]
    assert users(Job.args.has_key("user")) == [0, 1, 2]
    assert users(Job.meta == {}) == [0, 1, 2]


async def test_state_of_a_future_version_loads_as_text(migrated_database: str) -> None:
    engine = create_async_engine(migrated_database)
    try:
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            await connection.execute(text("ALTER TYPE oban_job_state ADD VALUE 'paused' AFTER 'suspended'"))
        async with AsyncSession(engine) as session:
            session.add_all([JobSpec("old"), JobSpec("new")])
            await session.commit()
            await session.execute(update(Job).where(Job.worker == "new").values(state="paused"))
            await session.commit()
            old, new = await session.scalars(select(Job).order_by(Job.id))
            assert (old.state, new.state) == (JobState.AVAILABLE, "paused")
            assert type(new.state) is str
            assert new.is_finished is False
            assert list(await session.scalars(select(Job.id).where(Job.state == "paused"))) == [new.id]
            assert "paused" in repr(new)
    finally:
        await engine.dispose()


def test_misspelt_state_is_an_error_and_no_empty_result(session: Session) -> None:
    with pytest.raises(DataError, match="complete"):
        session.scalars(select(Job).where(Job.state == "complete")).all()


def test_state_is_compared_with_the_member_or_its_value(session: Session) -> None:
    job = add(session, state="retryable")
    for condition in (
        Job.state == JobState.RETRYABLE,
        Job.state == "retryable",
        Job.state.in_(["retryable", JobState.EXECUTING]),
        Job.state != "available",
    ):
        assert session.scalars(select(Job.id).where(condition)).all() == [job.id]


def test_machinery_columns_are_not_attributes(session: Session) -> None:
    job = add(session)
    assert not hasattr(job, "uniq_key")
    assert not hasattr(Job, "partition_key")
    assert "<Job id=" in repr(job)


def test_a_job_and_a_cron_entry_can_be_printed_when_they_have_expired(session: Session) -> None:
    job, entry = add(session), CronEntry(name="nightly", expression="@daily", spec={})
    session.add(entry)
    assert repr(CronEntry(name="new")) == "<CronEntry 'new'>"
    session.flush()
    assert repr(job) == f"<Job id={job.id} worker='w' queue='default' state='available'>"
    number = job.id
    session.expire_all()
    session.expunge_all()  # so that reading an attribute would raise
    assert repr(job) == f"<Job id={number}>"
    assert repr(entry) == "<CronEntry 'nightly'>"
