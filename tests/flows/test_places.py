"""Workflows on each driver, and in an own schema."""

from __future__ import annotations

import pytest
from sqlalchemy import make_url, select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from oban_sqla import Job, Oban, Workflow, migrations
from oban_sqla.testing import drain
from tests.flows.test_results_and_ends import pages
from tests.flows.test_workflows import QUEUE, commit, ended


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_workflow_runs_in_an_own_schema(empty_database: str, driver: str) -> None:
    engine = create_async_engine(make_url(empty_database).set(drivername=f"postgresql+{driver}"))
    engine = engine.execution_options(schema_translate_map={None: "flowing"})
    try:
        await migrations.migrate(engine, "flowing")
        flow, _ = pages()
        await commit(engine, flow)
        async with Oban(engine, queues={QUEUE: 5}) as oban:
            assert await oban.result(flow, timeout=30) == 14
            assert (await ended(engine, flow)).state == "completed"
            assert await oban.retry(flow, from_node="parts") > 2
            assert (await ended(engine, flow)).state == "completed"
            # The first map was replaced; its jobs stay with the workflow until that is deleted.
            assert await oban.delete(flow) > 11
        async with AsyncSession(engine) as session:
            assert (await session.scalars(select(Job.id))).all() == []
            assert (await session.scalars(select(Workflow.id))).all() == []
            again, _ = pages()
            session.add(again)
            assert await drain(session) == {"completed": 11}
            await session.rollback()
    finally:
        await engine.dispose()
