"""A transaction of the user's holds a lock on the row of one executing job (R5)."""

from __future__ import annotations

import asyncio

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import Oban
from tests.faults.jobs import gate, note, runs, wait
from tests.runtime.helpers import finished, insert, load, until
from tests.support import eventually

LOCK = text("SELECT id FROM oban_jobs WHERE id = :id FOR UPDATE")


async def test_a_lock_on_one_row_holds_up_that_job_alone(any_engine: AsyncEngine) -> None:
    async with Oban(any_engine, queues={"default": 5}, poll_interval=0.1) as oban:
        locked, *others = await insert(any_engine, *(wait.new("end") for _ in range(5)))
        await eventually(lambda: runs(locked) == 1 and all(runs(job_id) for job_id in others))
        async with any_engine.connect() as connection:
            await connection.execute(LOCK, {"id": locked})
            gate("end").set()
            await finished(any_engine, others, timeout=9)
            # The slot of the locked job is free again, and the queue goes on.
            later = await insert(any_engine, *(note.new() for _ in range(50)))
            await finished(any_engine, later, timeout=9)
            assert (await load(any_engine, locked)).state == "executing"
            assert oban._node is not None
            assert len(oban._node.acks) == 1
            await connection.rollback()
        done = await until(any_engine, locked, "completed", timeout=9)
    assert (done.attempt, runs(locked)) == (1, 1)


async def test_a_lock_that_lasts_until_the_stop_delays_it_by_no_more_than_the_last_acks(engine: AsyncEngine) -> None:
    oban = Oban(engine, queues={"default": 5})
    await oban.start()
    [locked] = await insert(engine, wait.new("end"))
    await eventually(lambda: runs(locked) == 1)
    async with engine.connect() as connection:
        await connection.execute(LOCK, {"id": locked})
        gate("end").set()
        stopping = asyncio.create_task(oban.stop())
        await asyncio.sleep(0.3)
        await connection.rollback()
    await asyncio.wait_for(stopping, 5)
    assert (await load(engine, locked)).state == "completed"


async def test_a_locked_available_row_is_passed_over_and_run_after_its_release(engine: AsyncEngine) -> None:
    async with Oban(engine, queues={"default": 1}, poll_interval=0.1):
        [first] = await insert(engine, wait.new("end"))
        await eventually(lambda: runs(first) == 1)
        locked, *others = await insert(engine, *(note.new() for _ in range(20)))
        async with engine.connect() as connection:
            await connection.execute(LOCK, {"id": locked})
            gate("end").set()
            await finished(engine, others, timeout=9)
            assert not runs(locked)
            await connection.rollback()
        await until(engine, locked, "completed", timeout=9)
