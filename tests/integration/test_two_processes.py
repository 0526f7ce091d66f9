"""Several processes on one queue."""

from __future__ import annotations

from collections import Counter

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import JobSpec
from tests.integration.node import RUNS
from tests.integration.nodes import node
from tests.runtime.helpers import execute, insert
from tests.support import eventually

JOBS = 20_000


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_twenty_thousand_jobs_run_once_each_over_two_processes(
    engine: AsyncEngine, database_url: str, driver: str
) -> None:
    jobs = JOBS if driver == "asyncpg" else JOBS // 10
    url = engine.url.set(drivername=f"postgresql+{driver}").render_as_string(hide_password=False)
    await execute(engine, RUNS)
    try:
        ids = await insert(engine, *(JobSpec("node.logged") for _ in range(jobs)))
        async with node(url, "default=20", node="one"), node(url, "default=20", node="two"):

            async def drained() -> bool:
                open_jobs = "SELECT count(*) FROM oban_jobs WHERE state <> 'completed'"
                return (await execute(engine, open_jobs))[0][0] == 0

            await eventually(drained, timeout=120, interval=0.2)
        runs = await execute(engine, "SELECT job_id, attempt, node FROM runs")
        assert len(runs) == jobs
        assert {(run.job_id, run.attempt) for run in runs} == {(job_id, 1) for job_id in ids}
        assert min(Counter(run.node for run in runs).values()) > jobs / 10, "both took part"
        states = await execute(engine, "SELECT state::text, count(*) FROM oban_jobs GROUP BY 1")
        assert states == [("completed", jobs)]
    finally:
        await execute(engine, "DROP TABLE runs")
