"""A crash of the server: one killed backend ends all of them, and the UNLOGGED tables come back empty."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from oban_sqla import JobSpec, embedded, migrations
from tests.cluster.helpers import BRISK
from tests.integration.node import RUNS
from tests.integration.nodes import node
from tests.runtime.helpers import execute, finished, insert
from tests.support import eventually


@pytest.fixture
async def crashing() -> AsyncIterator[AsyncEngine]:
    """A server of the test's own, by an engine whose every use is a new connection."""
    try:
        server = await asyncio.to_thread(embedded.start, settings={"fsync": False})
    except embedded.EmbeddedError as reason:
        pytest.skip(f"a crash needs a server of our own: {reason}")
    engine = create_async_engine(server.url, poolclass=NullPool)
    try:
        await migrations.migrate(engine)
        await execute(engine, RUNS)
        yield engine
    finally:
        await engine.dispose()
        await asyncio.to_thread(server.stop)


async def crash(engine: AsyncEngine) -> None:
    """Kill the backend of a node, and wait until the server has recovered, and its UNLOGGED tables are empty."""
    await execute(engine, "INSERT INTO oban_leaders VALUES ('witness', 'nobody', 'infinity', 'infinity')")
    [[before]] = await execute(engine, "SELECT pg_postmaster_start_time()")
    sql = "SELECT pid FROM pg_stat_activity WHERE application_name = 'oban_sqla' LIMIT 1"
    [[backend]] = await execute(engine, sql)
    os.kill(backend, signal.SIGKILL)

    async def recovered() -> bool:
        try:
            return await execute(engine, "SELECT 1 FROM oban_leaders WHERE name = 'witness'") == []
        except (DBAPIError, OSError):
            return False

    await eventually(recovered, timeout=30)
    [[after]] = await execute(engine, "SELECT pg_postmaster_start_time()")
    assert before == after, "that says nothing"


# Several times what makes a producer stale, and a lifeline look.
@pytest.mark.parametrize(("options", "lasting"), [(BRISK, 7.0), ({}, 30.0)], ids=["brisk", "defaults"])
async def test_no_job_is_rescued_and_each_completes_on_its_first_attempt(
    crashing: AsyncEngine, options: dict[str, Any], lasting: float
) -> None:
    engine, url = crashing, crashing.url.render_as_string(hide_password=False)
    async with (
        node(url, "default=17", node="one", **options),
        node(url, "default=17", node="two", **options),
        node(url, "default=17", node="three", **options),
    ):
        ids = await insert(engine, *(JobSpec("node.started", {"seconds": lasting}) for _ in range(50)))

        async def all_run() -> bool:
            return (await execute(engine, "SELECT count(*) FROM runs"))[0][0] == 50

        await eventually(all_run, timeout=20)
        producers = set(await execute(engine, "SELECT uuid::text FROM oban_producers"))
        await crash(engine)
        jobs = await finished(engine, ids, timeout=lasting + 25)
        assert {(job.attempt, len(job.errors), len(job.meta)) for job in jobs} == {(1, 0, 0)}

        async def all_back() -> bool:
            return set(await execute(engine, "SELECT uuid::text FROM oban_producers")) == producers

        await eventually(all_back, timeout=20)
    assert await execute(engine, "SELECT count(*), count(DISTINCT job_id) FROM runs") == [(50, 50)]
