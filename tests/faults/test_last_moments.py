"""The end of a node whose server is silent, or whose event loop ends before its threads."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import Oban
from tests.faults.jobs import note, runs, wait
from tests.faults.proxy import Proxy
from tests.processes import running
from tests.runtime.helpers import execute, finished, insert
from tests.support import eventually

ALLOWED = 10.0
"""Seconds beyond the grace that docs/operations.md tells supervisors to allow."""


@pytest.mark.parametrize("busy", [False, True])
async def test_a_node_stops_in_the_time_that_supervisors_allow_although_its_server_swallows_everything(
    engine: AsyncEngine, between: Proxy, proxied: AsyncEngine, busy: bool
) -> None:
    oban = Oban(proxied, queues={"default": 2}, shutdown_grace=1, poll_interval=0.2)
    await oban.start()
    await finished(engine, await insert(engine, note.new()))
    if busy:
        [job_id] = await insert(engine, wait.new("never"))
        await eventually(lambda: runs(job_id))
    between.stall()
    began = time.monotonic()
    left = await oban.stop()
    took = time.monotonic() - began
    between.flow()
    assert took < 1 + 2 + ALLOWED + 5, "without bounds it takes from 25 to 35 s"
    assert bool(left) == busy
    await eventually(lambda: _parted(engine), 60)  # what was left was sent when the server answered again


async def _parted(engine: AsyncEngine) -> bool:
    gone = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'oban_sqla' AND datname = current_database()"
    return not await execute(engine, gone)


PROGRAM = """
import asyncio, sys, time
from sqlalchemy.ext.asyncio import create_async_engine
from oban_sqla import Oban, job

@job
def busy():
    print("busy", flush=True)
    time.sleep(60)

async def main(url):
    engine = create_async_engine(url)
    async with Oban(engine, {"default": 2}, shutdown_grace=0.1) as oban:
        await oban.enqueue(busy.new())
        while not oban._node.producers["default"].running:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
    await engine.dispose()

asyncio.run(main(sys.argv[1]))
print("over", flush=True)
"""


async def test_a_job_in_a_thread_that_outlasts_its_event_loop_is_named_once_and_in_its_own_words(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    url = engine.url.render_as_string(hide_password=False)
    (tmp_path / "program.py").write_text(PROGRAM)
    began = time.monotonic()
    with running([str(tmp_path / "program.py"), url], tmp_path / "log", fresh=True) as process:
        said = await process.says("over", 40)
        assert await process.ended(20) == 0
    assert time.monotonic() - began < 50, "not until the thread ends"
    assert "whose outcomes can't be written any more" in said
    assert "stop the runtime with Oban.stop()" not in said
