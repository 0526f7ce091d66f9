"""Nodes that die in the middle of what they do with several jobs."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from benchmarks.chains import chains
from benchmarks.killing import Launched
from oban_sqla import migrations
from tests.groups.node import chunked
from tests.limits.helpers import add, all_done
from tests.processes import running
from tests.runtime.helpers import execute
from tests.support import eventually


async def test_a_node_that_is_killed_inside_a_chunk_loses_nothing_and_nothing_is_done_twice(
    engine: AsyncEngine, database_url: str, tmp_path: Path
) -> None:
    await execute(engine, "CREATE TABLE effects (n int, pid int)")
    try:
        await add(engine, [chunked.new({"n": n}) for n in range(400)])
        with ExitStack() as stack:
            first, second = (
                stack.enter_context(running(["-m", "tests.groups.node", database_url, name], tmp_path / name))
                for name in ("first", "second")
            )
            await first.says("ready")
            await second.says("ready")

            async def of_first() -> bool:
                rows = await execute(engine, f"SELECT 1 FROM effects WHERE pid = {first.popen.pid} LIMIT 1")
                return bool(rows)

            await eventually(of_first)
            first.signal(signal.SIGKILL)
            await all_done(engine, timeout=60)
        assert await execute(engine, "SELECT count(*), count(DISTINCT n) FROM effects") == [(400, 400)]
        assert await execute(engine, "SELECT DISTINCT state::text FROM oban_jobs") == [("completed",)]
    finally:
        await execute(engine, "DROP TABLE effects")


async def test_no_two_jobs_of_a_chain_run_at_once_though_nodes_are_killed(empty_database: str, tmp_path: Path) -> None:
    engine = create_async_engine(empty_database)
    await migrations.migrate(engine)
    with ExitStack() as stack:

        def launch(arguments: list[str]) -> Launched:
            return stack.enter_context(running(arguments, tmp_path / arguments[-1])).popen

        report = await chains(
            engine, empty_database, jobs=120, keys=12, seed=1, nodes=2, kill_every=0.8, launch=launch, most_kills=1
        )
    await engine.dispose()
    assert report.is_good, report
    assert report.ended == 120
    assert report.kills > 0
