"""Nodes that are processes, and are killed: limits hold, and no slot is lost."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import JobSpec
from tests.limits.helpers import all_done, count
from tests.limits.node import COUNTED
from tests.processes import Process, running
from tests.runtime.helpers import execute, insert
from tests.support import eventually

NODES = 4


@pytest.fixture
async def counted(engine: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    await execute(engine, COUNTED)
    yield engine
    await execute(engine, "DROP TABLE counted")


@asynccontextmanager
async def node(url: str, name: str, log: Path, **limits: Any) -> AsyncGenerator[Process, None]:
    """A node that has started; asked to stop at the end, if it still runs."""
    with running(["-m", "tests.limits.node", url, name, json.dumps(limits)], log / name) as process:
        await process.says("ready", 30)
        yield process
        if process.returncode is None:
            process.signal(signal.SIGTERM)
            await process.ended(30)


async def most(engine: AsyncEngine) -> int:
    return int((await execute(engine, "SELECT max(running) FROM counted"))[0][0] or 0)


async def test_a_global_limit_holds_while_nodes_are_killed_and_all_jobs_finish(
    counted: AsyncEngine, database_url: str, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:

        async def started(number: int) -> Process:
            return await stack.enter_async_context(node(database_url, f"n{number}", tmp_path, global_limit=5))

        alive = list(await asyncio.gather(*(started(number) for number in range(NODES))))
        await insert(counted, *(JobSpec("limits.counted", {"seconds": 0.002}) for _ in range(2_000)))
        for number in range(3):
            # Counted from the last start: the jobs of the one before have been rescued by then.
            ran = await count(counted, "state = 'completed'")

            async def more_ran(before: int = ran) -> bool:
                return await count(counted, "state = 'completed'") >= before + 200

            await eventually(more_ran, timeout=30)
            victim = alive.pop(0)
            victim.signal(signal.SIGKILL)
            await victim.ended()
            alive.append(await started(NODES + number))
        await all_done(counted, timeout=60)
    assert await most(counted) == 5
    assert await count(counted, "state = 'completed'") == 2_000
    assert (await execute(counted, "SELECT count(DISTINCT pid) FROM counted"))[0][0] >= NODES


async def test_the_slots_of_a_killed_node_are_free_when_its_jobs_are_rescued(
    counted: AsyncEngine, database_url: str, tmp_path: Path
) -> None:
    limits: dict[str, Any] = {"global_limit": 4, "partition": {"by": ["args.key"], "limit": 2}}
    async with (
        node(database_url, "victim", tmp_path, **limits) as victim,
        AsyncExitStack() as stack,
    ):
        ids = await insert(counted, *(JobSpec("limits.counted", {"key": n % 2, "seconds": 600}) for n in range(4)))

        async def all_run() -> bool:
            return (await execute(counted, "SELECT count(*) FROM counted"))[0][0] == 4

        await eventually(all_run, timeout=20)
        await stack.enter_async_context(node(database_url, "heir", tmp_path, **limits))
        await insert(counted, *(JobSpec("limits.counted", {"key": n % 2}) for n in range(20)))
        await execute(counted, "UPDATE oban_jobs SET args = args || '{\"seconds\": 0}' WHERE id = ANY (:ids)", ids=ids)
        assert await count(counted, "state = 'available'") == 20, "the cluster is full"
        victim.signal(signal.SIGKILL)
        await victim.ended()
        await all_done(counted, timeout=30)
    assert await most(counted) == 2
    rescued = await execute(counted, "SELECT attempt FROM oban_jobs WHERE id = ANY (:ids)", ids=ids)
    assert [attempt for (attempt,) in rescued] == [2] * 4
