"""Several processes on one queue."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import JobSpec
from tests.cluster.helpers import BRISK
from tests.integration.node import RUNS
from tests.integration.nodes import node
from tests.runtime.helpers import execute, insert
from tests.support import eventually

COMPLETED = "SELECT count(*) FROM oban_jobs WHERE state = 'completed'"


@pytest.fixture
async def runs(engine: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    """An engine for a database with the table that nodes log their runs into."""
    await execute(engine, RUNS)
    yield engine
    await execute(engine, "DROP TABLE runs")


async def completed(engine: AsyncEngine, count: int) -> None:
    async def so_many() -> bool:
        return (await execute(engine, COMPLETED))[0][0] >= count

    await eventually(so_many, timeout=120)


async def at_work(engine: AsyncEngine, name: str) -> None:
    async def has_run_some() -> bool:
        return (await execute(engine, "SELECT count(*) FROM runs WHERE node = :name", name=name))[0][0] >= 50

    await eventually(has_run_some, timeout=60)


@pytest.mark.parametrize(("driver", "jobs"), [("asyncpg", 1_000), ("psycopg", 500)])
async def test_each_of_many_jobs_runs_once_over_two_processes(runs: AsyncEngine, driver: str, jobs: int) -> None:
    url = runs.url.set(drivername=f"postgresql+{driver}").render_as_string(hide_password=False)
    async with node(url, "default=20", node="one"), node(url, "default=20", node="two"):
        ids = await insert(runs, *(JobSpec("node.logged") for _ in range(jobs)))
        await completed(runs, jobs)
    logged = await execute(runs, "SELECT job_id, attempt, node FROM runs")
    assert len(logged) == jobs
    assert {(run.job_id, run.attempt) for run in logged} == {(job_id, 1) for job_id in ids}
    assert min(Counter(run.node for run in logged).values()) > jobs / 10, "both took part"
    assert await execute(runs, "SELECT state::text, count(*) FROM oban_jobs GROUP BY 1") == [("completed", jobs)]


async def test_each_effect_happens_once_while_one_process_after_the_other_is_killed(runs: AsyncEngine) -> None:
    """What a killed process was running has left nothing, and is run again by another."""
    url = runs.url.render_as_string(hide_password=False)
    victims = [f"victim {number}" for number in range(4)]
    ids: list[int] = []
    async with node(url, "default=20", node="survivor", **BRISK):
        for name in victims:
            async with node(url, "default=20", node=name, **BRISK) as victim:
                ids += await insert(runs, *(JobSpec("node.logged") for _ in range(500)))
                await at_work(runs, name)
                victim.signal(signal.SIGKILL)
                await victim.ended()
        await completed(runs, len(ids))
    logged = await execute(runs, "SELECT job_id, attempt, node FROM runs")
    assert Counter(run.job_id for run in logged) == Counter(ids), "once each"
    assert {run.node for run in logged} == {"survivor", *victims}
    rescued = await execute(runs, "SELECT id FROM oban_jobs WHERE (meta->>'rescued')::int >= 1")
    assert rescued, "none died with a job"
    again = {run.job_id for run in logged if run.attempt > 1}
    assert again == {row.id for row in rescued}, "only those that were interrupted had another attempt"
    assert await execute(runs, "SELECT state::text, count(*) FROM oban_jobs GROUP BY 1") == [("completed", len(ids))]
