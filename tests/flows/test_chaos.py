"""Random workflows on nodes that are killed: a small run of ``python -m benchmarks.flows_chaos``."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from benchmarks.flows_chaos import chaos
from benchmarks.killing import Launched
from oban_sqla import migrations
from tests.processes import running


async def test_random_workflows_end_as_a_model_says_though_nodes_are_killed(
    empty_database: str, tmp_path: Path
) -> None:
    engine: AsyncEngine = create_async_engine(empty_database)
    await migrations.migrate(engine)
    with ExitStack() as stack:

        def launch(arguments: list[str]) -> Launched:
            return stack.enter_context(running(arguments, tmp_path / arguments[-1])).popen

        report = await chaos(
            engine, empty_database, seed=5, flows=2, most=20, nodes=2, kill_every=1.0, launch=launch, most_kills=1
        )
    await engine.dispose()
    assert report.wrong == []
    assert report.deadlocks == 0
    assert report.kills > 0
