"""A release reads none of the jobs that have ended, and of the other workflows, however many there are."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

JOBS = 10_000
MOST = 150
"""Pages that a call may look at. To read all of the jobs takes far more, even by an index alone."""

FLOW = "INSERT INTO oban_workflows (name) VALUES ('w')"
MANY_FLOWS = "INSERT INTO oban_workflows (name) SELECT 'w' FROM generate_series(1, 20000)"
BATCH = "INSERT INTO oban_batches (name) VALUES ('b')"
ENDED = (
    "INSERT INTO oban_jobs (worker, state, completed_at, {column}) "
    f"SELECT 'w', 'completed', now(), {{value}} FROM generate_series(1, {JOBS})"
)
OPEN = "INSERT INTO oban_jobs (worker, state, attempt, {column}) VALUES ('w', 'executing', 1, {value})"
WAITING = (
    f"INSERT INTO oban_jobs (worker, state, chain_key) SELECT 'w', 'suspended', 'h|1' FROM generate_series(1, {JOBS})"
)
NEXT = "INSERT INTO oban_jobs (worker, state, chain_key) VALUES ('w', 'suspended', {value})"
FAILED = (
    "INSERT INTO oban_jobs (worker, state, discarded_at, chain_key) "
    f"SELECT 'w', 'discarded', now(), 'c|1' FROM generate_series(1, {JOBS})"
)
NEWS = (
    "TRUNCATE oban_news; "
    "INSERT INTO oban_news (job_id, {column}, state) SELECT min(id), min({column}), 'completed' FROM oban_jobs"
)
OF_FLOW = {"column": "workflow_id", "value": "1"}
OF_BATCH = {"column": "batch_id", "value": "1"}
OF_CHAIN = {"column": "chain_key", "value": "'h|1'"}


def each(of: dict[str, str], *statements: str) -> list[str]:
    return [statement.format(**of) for statement in statements]


@pytest.fixture
async def own_engine(migrated_database: str) -> AsyncIterator[AsyncEngine]:
    """On a database in which nothing was deleted before."""
    engine = create_async_engine(migrated_database)
    yield engine
    await engine.dispose()


@pytest.mark.parametrize(
    ("concern", "prepared"),
    [
        pytest.param("flows", each(OF_FLOW, FLOW, ENDED, OPEN, NEWS), id="a workflow that goes on"),
        pytest.param("flows", each(OF_FLOW, FLOW, ENDED, NEWS), id="a workflow that ends"),
        pytest.param("batches", each(OF_BATCH, BATCH, ENDED, OPEN, NEWS), id="a batch that goes on"),
        pytest.param("batches", each(OF_BATCH, BATCH, ENDED, NEWS), id="a batch that ends"),
        pytest.param("chains", each(OF_CHAIN, WAITING, OPEN, NEWS), id="a chain in which a job runs"),
        pytest.param("chains", each(OF_CHAIN, WAITING, NEWS), id="a chain whose next job takes its turn"),
        pytest.param("chains", each(OF_CHAIN, ENDED, NEWS), id="a chain that has ended"),
        pytest.param("chains", each(OF_CHAIN, ENDED, NEXT, NEWS), id="a chain of which many have ended, and one waits"),
        pytest.param("chains", each(OF_CHAIN, FAILED, NEWS), id="a chain in which many have failed"),
    ],
)
async def test_it_reads_few_pages(own_engine: AsyncEngine, concern: str, prepared: list[str]) -> None:
    async with own_engine.begin() as connection:
        for statement in prepared:
            for one in statement.split("; "):
                await connection.execute(text(one))
    async with own_engine.connect() as connection:
        before = await connection.begin()
        await pages_of(connection, concern)  # plans, and reads catalogs
        await before.rollback()
        async with connection.begin():
            assert await pages_of(connection, concern) < MOST
            assert await connection.scalar(text("SELECT count(*) FROM oban_news WHERE state = 'completed'")) == 0


async def pages_of(connection: AsyncConnection, concern: str) -> int:
    """How many pages a release looks at."""
    explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM oban_release_{concern}(200)"
    answer: Any = await connection.scalar(text(explain))
    [plan] = json.loads(answer) if isinstance(answer, str) else answer
    return int(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"])


async def test_a_plan_that_was_made_among_few_workflows_does_not_go_through_many(own_engine: AsyncEngine) -> None:
    """To see whether a job has returned a workflow, which is the newest of its own."""
    prepared = (
        FLOW,
        "INSERT INTO oban_jobs (worker, state, workflow_id, completed_at) "
        "SELECT 'w', 'completed', 1, now() FROM generate_series(1, 10)",
        "INSERT INTO oban_jobs (worker, state, workflow_id) VALUES ('w', 'suspended', 1)",
        "INSERT INTO oban_deps (dep_id, job_id) SELECT i, 11 FROM generate_series(1, 10) i",
        "INSERT INTO oban_news (job_id, workflow_id, state) SELECT i, 1, 'completed' FROM generate_series(1, 10) i",
        "ALTER TABLE oban_workflows SET (autovacuum_enabled = off)",
        "ANALYZE oban_workflows",
    )
    async with own_engine.begin() as connection:
        for statement in prepared:
            await connection.execute(text(statement))
    async with own_engine.connect() as connection:
        before = await connection.begin()
        await pages_of(connection, "flows")
        await before.rollback()
        async with connection.begin():
            await connection.execute(
                text("INSERT INTO oban_workflows (name) SELECT 'w' FROM generate_series(1, 20000)")
            )
            assert await pages_of(connection, "flows") < 1_000
            assert await connection.scalar(text("SELECT state FROM oban_jobs WHERE id = 11")) == "available"
