"""Nodes that are killed at any moment: each effect of a step is there exactly once. `benchmarks.durable` does more."""

from __future__ import annotations

import random
import signal
from contextlib import ExitStack
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import JobSpec
from tests.durable import node
from tests.processes import Process, running
from tests.runtime.helpers import execute, insert
from tests.support import eventually

JOBS = 60


async def test_each_effect_is_there_once_though_nodes_are_killed(
    engine: AsyncEngine, database_url: str, tmp_path: Path
) -> None:
    specs: list[JobSpec] = [node.five.new(number=number) for number in range(JOBS)]
    await insert(engine, *specs)
    rng = random.Random(12)

    async def left() -> int:
        [(count,)] = await execute(engine, "SELECT count(*) FROM oban_jobs WHERE state <> 'completed'")
        return int(count)

    with ExitStack() as stack:

        def start(number: int) -> Process:
            arguments = ["-m", "tests.durable.node", database_url, f"n{number}"]
            return stack.enter_context(running(arguments, tmp_path / f"n{number}"))

        for number in range(3):
            process = start(number)
            before = await left()
            aim = before - rng.randint(3, 12)
            await eventually(lambda aim=aim: _at_most(left, aim), timeout=60)  # type: ignore[misc]
            process.signal(signal.SIGKILL)
        last = start(9)
        await eventually(lambda: _at_most(left, 0), timeout=60)
        last.signal(signal.SIGTERM)
        await last.ended()
    effects = await execute(engine, "SELECT what, count(*) FROM durable_effects GROUP BY what")
    assert sorted(effects) == sorted((f"{number}/{part}", 1) for number in range(JOBS) for part in range(3))
    # Each plain step's value is one of its runs', and the same for ever after.
    differ = """
        SELECT count(*) FROM oban_jobs j JOIN oban_steps s ON s.job_id = j.id AND s.name LIKE 'draw %'
         WHERE j.meta -> 'return' -> right(s.name, 1)::int IS DISTINCT FROM s.value
    """
    assert await execute(engine, differ) == [(0,)]


async def _at_most(left: object, aim: int) -> bool:
    return await left() <= aim  # type: ignore[operator]
