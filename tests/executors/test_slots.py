"""The slot of a job in a child process."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import Oban, Processes
from tests.executors import jobs
from tests.executors.patience import eventually, finished, until
from tests.runtime.helpers import insert

TWO = Processes(size=2, sessionmaker="tests.executors.jobs:Session")


async def test_job_in_a_child_that_releases_its_slot_lets_another_one_run_and_why_says_so(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    async with Oban(engine, {"children": 1}, processes=TWO) as oban:
        [holding] = await insert(engine, jobs.lets_its_slot_go.new(str(gate)))
        await until(engine, holding, "executing")
        await finished(engine, await insert(engine, jobs.square.new(2)))
        assert oban._node is not None
        producer = oban._node.producers["children"]
        assert producer.slots.out == {holding}
        oban._node.liveness.wake()

        async def said() -> bool:
            return (await oban.why(holding)).reason.code == "without_slot"

        await eventually(said)
        gate.touch()
        await finished(engine, [holding])
        await eventually(lambda: not producer.slots.out)
