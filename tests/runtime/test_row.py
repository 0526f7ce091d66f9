"""The job that a worker is handed equals the one that a query loads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import inspect, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from oban_sqla import Job, JobSpec, Oban, job
from tests.runtime.helpers import execute, insert, until

handed: list[Job] = []
loaded: list[Job] = []


@job(name="tests.compare")
async def compare(session: AsyncSession, job: Job) -> None:
    handed.append(job)
    loaded.append((await session.execute(select(Job).where(Job.id == job.id))).scalar_one())
    session.expunge_all()


async def test_it_equals_the_one_of_the_orm(any_engine: AsyncEngine) -> None:
    handed.clear()
    loaded.clear()
    spec = JobSpec(
        "tests.compare",
        {"ünï": ["\N{SNOWMAN}", 1.5, None, {"deep": True}]},
        queue="media",
        priority=3,
        max_attempts=7,
        tags=['a "quoted" \\ tag', "b,c", "{}"],
        meta={"mine": 1},
        scheduled_at=datetime.now(UTC) - timedelta(hours=3),
    )
    [job_id] = await insert(any_engine, spec)
    await execute(
        any_engine,
        """UPDATE oban_jobs SET errors = '[{"attempt": 1, "error": "before"}]', attempt = 1 WHERE id = :id""",
        id=job_id,
    )
    async with Oban(any_engine, queues={"media": 1}, sessionmaker=async_sessionmaker(any_engine)):
        await until(any_engine, job_id, "completed")
    [ours], [theirs] = handed, loaded
    columns = [attribute.key for attribute in inspect(Job).column_attrs]
    assert len(columns) == 23
    assert {name: getattr(ours, name) for name in columns} == {name: getattr(theirs, name) for name in columns}
    assert inspect(ours).detached
    assert inspect(ours).identity == inspect(theirs).identity
    assert not inspect(ours).modified
