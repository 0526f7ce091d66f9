"""Nodes that are killed at any moment: each effect of a step is there exactly once. `benchmarks.durable` does more."""

from __future__ import annotations

import json
import random
import signal
from contextlib import ExitStack
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import JobSpec, Oban
from tests.durable import node
from tests.processes import Process, running
from tests.runtime.helpers import execute, insert, load, until
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

        for number in range(2):
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


async def test_a_stopped_node_that_wakes_takes_neither_a_step_nor_a_signal_twice(
    engine: AsyncEngine, database_url: str, tmp_path: Path
) -> None:
    [job_id] = await insert(engine, node.pays.new(7))
    with ExitStack() as stack:

        def start(name: str) -> Process:
            arguments = ["-m", "tests.durable.node", database_url, name]
            return stack.enter_context(running(arguments, tmp_path / name))

        first = start("first")
        await first.says("paying 7")
        first.signal(signal.SIGSTOP)
        second = start("second")
        await second.says("paying 7")  # it was rescued, and runs beside the first run
        oban = Oban(engine)
        for number in range(3):
            assert await oban.signal(job_id, "go", number)
        await execute(engine, "INSERT INTO durable_effects (what) VALUES ('go on')")
        await until(engine, job_id, "completed")
        first.signal(signal.SIGCONT)
        woken = await first.says("got [")
    job = await load(engine, job_id)
    assert json.loads(woken.partition("got ")[2].splitlines()[0]) == job.meta["return"]
    assert job.meta["return"][2:] == [0, 1]
    effects = await execute(engine, "SELECT count(*) FROM durable_effects WHERE what = 'pay 7'")
    assert effects == [(1,)]
    assert await execute(engine, "SELECT taken FROM oban_signals ORDER BY id") == [(1,), (2,), (None,)]


async def _at_most(left: object, aim: int) -> bool:
    return await left() <= aim  # type: ignore[operator]
