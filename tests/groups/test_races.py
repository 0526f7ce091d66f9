"""What comes while a node looks for the jobs of a group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import Chunk, Job, Oban, Queue, job, telemetry
from tests.limits.helpers import add, all_done
from tests.runtime.helpers import wake
from tests.support import eventually


async def test_a_job_that_comes_while_its_chunk_looks_for_more_joins_it(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    @job(chunk=Chunk(size=3, timeout=60))
    async def deliver(jobs: list[Job]) -> None:
        calls.append(len(jobs))

    staged: list[str] = []
    telemetry.attach("races", ["oban.stager.stage.stop"], lambda event, _: staged.append(event))
    async with Oban(engine, queues={"default": Queue(1)}, poll_interval=60) as oban:
        assert oban._node is not None
        await eventually(lambda: bool(staged))  # it notices, too, and comes once a minute from now on
        telemetry.detach("races")
        lane = oban._node.producers["default"].lane
        run = lane.run_unshielded
        looks: list[int] = []

        async def slow(statement: Any, /, **given: Any) -> Sequence[Any]:
            rows = await run(statement, **given)
            if statement.name.startswith("fetch_chunk"):
                looks.append(len(rows))
                if len(looks) == 1:  # the answer is under way, and does not have what is committed now
                    await add(engine, [deliver.new({"n": 2})])
                    wake(oban, "default")
            return rows

        monkeypatch.setattr(lane, "run_unshielded", slow)
        await add(engine, [deliver.new({"n": n}) for n in range(2)])
        await eventually(lambda: bool(calls))
        await all_done(engine)
    assert (looks[0], calls) == (1, [3])
