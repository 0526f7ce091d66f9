"""What is changed while the pruner looks at it stays, and the pruner waits for nothing."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from oban_sqla import Batch, Job, JobSpec, Oban, Workflow
from oban_sqla.statements.flows import prune_flows
from oban_sqla.statements.prune_batches import prune_batches
from oban_sqla.statements.statement import Statement
from tests.cron.clock import LEASE, grant
from tests.runtime.helpers import execute

AGO = "timezone('UTC', now()) - '2 h'::interval"
JOBS = f"UPDATE oban_jobs SET state = 'completed', completed_at = {AGO}"


async def test_a_batch_of_which_a_job_is_being_retried_is_not_pruned(engine: AsyncEngine) -> None:
    batch = Batch([JobSpec("pruned.job") for _ in range(3)])
    assert await while_a_job_is_retried(engine, batch, prune_batches) == [[(0, 0)], [(0, 0)], [(3, 1)]]


async def test_a_workflow_of_which_a_job_is_being_retried_is_not_pruned(engine: AsyncEngine) -> None:
    flow = Workflow("pruned")
    for number in range(3):
        flow.add(JobSpec("pruned.job"), name=f"{number}")
    assert await while_a_job_is_retried(engine, flow, prune_flows) == [[(0,)], [(0,)], [(3,)]]


async def while_a_job_is_retried(
    engine: AsyncEngine, group: Batch | Workflow, prune: Statement
) -> list[list[tuple[Any, ...]]]:
    """What `prune` answers of a group that has finished long ago, of which a job is being retried; when that is
    committed; and when that job has finished again."""
    async with AsyncSession(engine) as session, session.begin():
        session.add(group)
    finished = f"UPDATE {type(group).__tablename__} SET finished_at = {AGO}"
    await execute(engine, JOBS)
    await execute(engine, finished)
    await execute(engine, "DELETE FROM oban_news")
    await grant(engine)
    given: dict[str, Any] = {**LEASE, "age": 3_600.0, "limit": 100}
    answers: list[list[tuple[Any, ...]]] = []
    async with AsyncSession(engine) as session, engine.connect() as pruner:
        await pruner.execution_options(isolation_level="AUTOCOMMIT")
        await pruner.execute(text("SET lock_timeout = '5s'"))

        async def look() -> None:
            rows = await pruner.run_sync(lambda sync: prune.execute(sync, **given).all())
            answers.append([tuple(row) for row in rows])

        job_id = await session.scalar(select(Job.id).order_by(Job.id).limit(1))
        assert job_id is not None
        assert await Oban(engine).retry(job_id, session) == 1
        await look()
        await session.commit()
        await look()
        assert await execute(engine, "SELECT count(*) FROM oban_jobs WHERE state = 'available'") == [(1,)]
        await execute(engine, JOBS)
        await execute(engine, finished)
        await look()
    return answers
