"""A database's clock that was ahead for a moment, and nodes of different versions."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import Oban, job
from oban_sqla.statements.cluster import lock_key
from tests.cluster.helpers import QUICK, executing, producer
from tests.cron.clock import Standing, database_time, grant, minute
from tests.runtime.helpers import execute, load
from tests.support import eventually


@job(name="clocks.tick")
async def tick() -> None: ...


@pytest.fixture
async def scheduler(engine: AsyncEngine) -> AsyncIterator[Standing]:
    await grant(engine)
    standing = Standing(engine)
    yield standing
    await standing.close()


async def jobs(engine: AsyncEngine) -> int:
    return (await execute(engine, "SELECT count(*) FROM oban_jobs"))[0][0]


async def test_cron_entries_go_on_after_the_clock_was_ahead_for_a_moment(
    engine: AsyncEngine, scheduler: Standing, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "oban_sqla")
    await Oban(engine).crons.put("each minute", "* * * * *", tick)
    now = minute(await database_time(engine))
    await scheduler.at(now + timedelta(minutes=1))
    assert await jobs(engine) == 1
    await scheduler.at(now + timedelta(days=30))  # the moment
    assert await jobs(engine) == 2
    await scheduler.at(now + timedelta(minutes=2, seconds=1))
    for minutes in (3, 4, 5):
        await scheduler.at(now + timedelta(minutes=minutes, seconds=1))
    assert await jobs(engine) == 5
    assert len([message for message in caplog.messages if "the database's clock was ahead" in message]) == 1


async def test_a_node_whose_lock_stands_is_not_dead_because_the_clock_jumps_ahead_by_hours(engine: AsyncEngine) -> None:
    uuid = await producer(engine, silent="0 seconds")
    job_id = await executing(engine, uuid)
    async with engine.connect() as holder, Oban(engine, **QUICK) as oban:
        await holder.exec_driver_sql(f"SELECT pg_advisory_lock({lock_key(UUID(uuid))})")
        node = oban._node
        assert node is not None
        await eventually(lambda: node.lifeline._sight > 1.0)
        # For the database it was silent for hours now.
        await execute(engine, "UPDATE oban_producers SET updated_at = updated_at - interval '5 hours'")
        seen: list[Any] = []

        def looked() -> bool:
            if not seen or seen[-1] is not node.lifeline._watched:
                seen.append(node.lifeline._watched)
            return len(seen) > 15

        await eventually(looked, 20, interval=0.005)
        assert (await load(engine, job_id)).state == "executing"


NEWER = """{"worker": "clocks.tick", "args": {"secret": "swordfish"}, "priority": 99}"""


async def test_an_entry_that_an_old_leader_cannot_read_is_left_to_a_node_that_can(
    engine: AsyncEngine, scheduler: Standing, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "oban_sqla")
    await Oban(engine).crons.put("each minute", "* * * * *", tick)
    await execute(engine, "UPDATE oban_crons SET since = since - interval '1 hour'")
    await execute(engine, "UPDATE oban_crons SET spec = CAST(:spec AS jsonb)", spec=NEWER)
    now = minute(await database_time(engine))
    for seconds in (1, 2, 3):
        await scheduler.at(now + timedelta(seconds=seconds))
    assert await jobs(engine) == 0
    assert scheduler._leadership.resigned == 1, "once, so that another node may lead"  # type: ignore[attr-defined]
    [said] = [message for message in caplog.messages if "is left to nodes that can read it" in message]
    assert "swordfish" not in said
    # The node that can, here because the entry is as it knows it.
    await execute(engine, "UPDATE oban_crons SET spec = spec - 'priority'")
    newer = Standing(engine)
    try:
        await newer.at(now + timedelta(seconds=20))
    finally:
        await newer.close()
    assert await jobs(engine) == 1
