"""What a node says last: jobs that it gives back at its stop are heard of by the others at once."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from oban_sqla import Oban, current_job, job
from oban_sqla.runtime import announcer
from tests.runtime.helpers import finished, insert, until, wake
from tests.support import eventually

gates: dict[str, asyncio.Event] = {}


@job(name="last_words.waits")
async def waits(gate: str) -> None:
    if current_job().attempted_by[0] == gate:
        await gates[gate].wait()


async def test_a_job_that_is_given_back_at_a_stop_is_announced(
    engine: AsyncEngine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gates.update(stays=asyncio.Event(), leaves=asyncio.Event())
    elsewhere = create_async_engine(database_url)
    async with Oban(elsewhere, queues={"default": 1}, node="stays", poll_interval=60):
        [first] = await insert(engine, waits.new("stays"))
        await until(engine, first, "executing")
        leaving = Oban(engine, queues={"default": 1}, node="leaves", poll_interval=60, shutdown_grace=0)
        await leaving.start()
        [second] = await insert(engine, waits.new("leaves"))
        await until(engine, second, "executing")
        gates["stays"].set()
        await finished(engine, [first])
        assert leaving._node is not None
        pending = leaving._node.announcer
        await eventually(lambda: not pending._pending)
        monkeypatch.setattr(announcer, "DEBOUNCE", 0.5)
        wake(leaving, "another")
        await eventually(lambda: not pending._pending)
        await leaving.stop()  # gives the job back within the pause after the last notification
        await finished(engine, [second])
    await elsewhere.dispose()
