"""What becomes of children where the system has no room for another process."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from oban_sqla import Oban
from tests.executors import jobs
from tests.executors.patience import eventually, finished
from tests.executors.test_children import ONE, children
from tests.runtime.helpers import insert


async def test_a_child_that_the_system_refuses_to_start_is_started_later(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OBAN_TEST_CHILD_URL", engine.url.render_as_string(hide_password=False))
    maker = async_sessionmaker(engine)
    async with Oban(engine, queues={"children": 2}, sessionmaker=maker, processes=ONE, shutdown_grace=1) as oban:
        await finished(engine, await insert(engine, jobs.square.new(3)))
        start: Any = subprocess.Popen
        refused = [BlockingIOError("no room for another process")]

        def popen(*given: Any, **options: Any) -> Any:
            if refused:
                raise refused.pop()
            return start(*given, **options)

        monkeypatch.setattr(subprocess, "Popen", popen)
        for pid in children(oban):
            os.kill(pid, signal.SIGKILL)
        await eventually(lambda: not refused)  # a job that came before that might be given to the child that dies
        await finished(engine, await insert(engine, jobs.square.new(3)))
