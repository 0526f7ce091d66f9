"""Control across real processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import Oban
from tests.integration.node import RUNS, logged, started
from tests.integration.nodes import node
from tests.runtime.helpers import execute, finished, insert, until
from tests.support import eventually

POLLS: dict[str, Any] = {"notify": "off", "poll_interval": 0.5}
LISTENS: dict[str, Any] = {"poll_interval": 5.0}


@pytest.fixture(autouse=True)
async def _runs(engine: AsyncEngine) -> AsyncIterator[None]:
    await execute(engine, RUNS)
    yield
    await execute(engine, "DROP TABLE runs")


@asynccontextmanager
async def nodes(url: str, **options: Any) -> AsyncGenerator[None]:
    """Two nodes, ``a`` and ``b``, that start and stop at the same time."""
    both = [node(url, node=name, heartbeat={"interval": 1.0}, **options) for name in "ab"]
    await asyncio.gather(*(one.__aenter__() for one in both))
    try:
        yield
    finally:
        await asyncio.gather(*(one.__aexit__(None, None, None) for one in both))


async def producers(engine: AsyncEngine, **expected: Any) -> None:
    """Wait until every node says this of its queue."""

    async def told() -> bool:
        rows = await execute(engine, "SELECT node, meta FROM oban_producers ORDER BY 1")
        told = {name: {key: meta[key] for key in expected} for name, meta in rows}
        assert told == {"a": expected, "b": expected}, told
        return True

    await eventually(told, timeout=12)


@pytest.mark.parametrize("way", [LISTENS, POLLS], ids=["listens", "polls"])
async def test_a_queue_is_paused_and_scaled_on_all_nodes(
    engine: AsyncEngine, database_url: str, way: dict[str, Any]
) -> None:
    operator = Oban(engine, node="operator", notify=way.get("notify", "auto"))
    async with nodes(database_url, **way):
        await operator.pause_queue("default")
        await operator.scale_queue("default", limit=3)
        await producers(engine, paused=True, local_limit=3)
        ids = await insert(engine, *(logged.new() for _ in range(20)))
        assert await execute(engine, "SELECT 1 FROM runs") == []
        await operator.resume_queue("default")
        await finished(engine, ids)
    runs = await execute(engine, "SELECT job_id, count(*) FROM runs GROUP BY 1 HAVING count(*) > 1")
    assert runs == [], "no job ran twice"


@pytest.mark.parametrize("way", [LISTENS, POLLS], ids=["listens", "polls"])
async def test_a_cancel_crosses_processes_within_a_second(
    engine: AsyncEngine, database_url: str, way: dict[str, Any]
) -> None:
    operator = Oban(engine, node="operator", notify=way.get("notify", "auto"))
    async with nodes(database_url, **way):
        ids = await insert(engine, *(started.new(60) for _ in range(20)))

        async def all_started() -> bool:
            return bool(await execute(engine, "SELECT 1 FROM runs HAVING count(*) = 20"))

        await eventually(all_started)
        assert len(await execute(engine, "SELECT DISTINCT node FROM runs")) == 2, "both run some"
        began = time.monotonic()
        assert await operator.cancel(ids) == 20
        for job_id in ids:
            await until(engine, job_id, "cancelled")
        assert time.monotonic() - began < 3.0 + (way["poll_interval"] if "notify" in way else 0.0)


async def test_a_queue_started_and_stopped_everywhere_survives_the_restart_of_a_node(
    engine: AsyncEngine, database_url: str
) -> None:
    operator = Oban(engine, node="operator")
    async with node(database_url, node="a"):
        async with node(database_url, node="b"):
            await operator.start_queue("late", limit=2)
            await operator.stop_queue("default")

            async def only_late() -> bool:
                rows = await execute(engine, "SELECT node, queue FROM oban_producers ORDER BY 1, 2")
                return bool(rows == [("a", "late"), ("b", "late")])

            await eventually(only_late)
        async with node(database_url, node="b"):
            await eventually(only_late)
            [job_id] = await insert(engine, logged.options(queue="late").new())
            await finished(engine, [job_id])


async def test_jobs_of_a_full_queue_that_is_stopped_run_elsewhere_once(engine: AsyncEngine, database_url: str) -> None:
    operator = Oban(engine, node="operator")
    async with nodes(database_url, shutdown_grace=0.5):
        ids = await insert(engine, *(started.new(4.0) for _ in range(20)))

        async def all_started() -> bool:
            return bool(await execute(engine, "SELECT 1 FROM runs HAVING count(*) >= 20"))

        await eventually(all_started)
        await operator.stop_queue("default", node="a")
        jobs = await finished(engine, ids)
        assert {job.attempted_by[0] for job in jobs} == {"b"}, "what a could not finish in its grace went to b"
        assert {job.attempt for job in jobs} == {1}, "with its attempt given back"
