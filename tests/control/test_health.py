"""What a node says about its own health."""

from __future__ import annotations

import json

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from oban_sqla import Heartbeat, Oban
from oban_sqla.runtime import loop
from tests.runtime.helpers import execute
from tests.support import eventually


async def test_a_node_that_works_is_well(any_engine: AsyncEngine) -> None:
    async with Oban(any_engine, {"default": 3}, node="here") as oban:
        health = await oban.health()
        assert health.ok
        assert (health.name, health.node, health.started) == ("Oban", "here", True)
        assert health.database is not None
        assert 0 < health.database < 3
        assert (health.leader, health.is_leader) == ("here", True)
        assert health.last_beat is not None
        assert [queue.queue for queue in health.queues] == ["default"]
        assert all(health.loops.values())
        assert {"notifier", "heartbeat", "leader", "control", "stager", "lifeline"} <= set(health.loops)
        assert json.loads(json.dumps(health.as_dict()))["queues"][0]["limit"] == 3


async def test_a_loop_that_ended_is_seen(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 3}) as oban:
        assert oban._node is not None
        await oban._node.stager.stop()
        health = await oban.health()
        assert not health.ok
        assert [name for name, alive in health.loops.items() if not alive] == ["stager"]


async def test_a_loop_that_only_fails_is_told_from_one_that_works(
    any_engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "ONLY_FAILS", 2)
    heartbeat = Heartbeat(interval=0.05, stale_after=15)
    async with Oban(any_engine, {"default": 3}, heartbeat=heartbeat) as oban:
        await execute(any_engine, "ALTER TABLE oban_producers ADD CONSTRAINT refused CHECK (false) NOT VALID")
        try:
            await eventually(lambda: _is_well(oban, ok=False))
            health = await oban.health()
            assert health.database is not None
            assert [name for name, works in health.loops.items() if not works] == ["heartbeat"]
            assert oban.loops["heartbeat"], "it lives, so /live does not end the process"
        finally:
            await execute(any_engine, "ALTER TABLE oban_producers DROP CONSTRAINT refused")
        await eventually(lambda: _is_well(oban, ok=True))


async def _is_well(oban: Oban, *, ok: bool) -> bool:
    return (await oban.health()).ok is ok


async def test_a_node_that_was_not_started_is_not_well_but_sees_who_leads(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 3}, node="here"):
        health = await Oban(engine, node="there").health()
    assert not health.ok
    assert (health.started, health.leader, health.is_leader) == (False, "here", False)
    assert health.last_beat is None
    assert (health.loops, health.queues) == ({}, ())


async def test_a_database_that_does_not_answer_is_seen_and_nothing_raises(caplog: pytest.LogCaptureFixture) -> None:
    nowhere = create_async_engine("postgresql+asyncpg://localhost:1/nowhere")
    oban = Oban(nowhere, node="health.nowhere")
    for _ in range(3):
        health = await oban.health()
        assert (health.ok, health.database, health.leader) == (False, None, None)
    await nowhere.dispose()
    [said] = [record.getMessage() for record in caplog.records]
    assert said.startswith("health check of health.nowhere: the database does not answer: ")


async def test_the_log_says_that_a_full_pool_fails_a_health_check(
    engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    full = create_async_engine(engine.url, pool_size=1, max_overflow=0, pool_timeout=0.05)
    async with full.connect():
        assert (await Oban(full, node="health.full").health()).database is None
    await full.dispose()
    assert "health check of health.full: the database does not answer: TimeoutError: QueuePool limit" in caplog.text


async def test_the_last_beat_moves_on(engine: AsyncEngine) -> None:
    heartbeat = Heartbeat(interval=0.05, stale_after=15)
    async with Oban(engine, {"default": 3}, heartbeat=heartbeat) as oban:
        first = (await oban.health()).last_beat

        async def later() -> bool:
            now = (await oban.health()).last_beat
            return first is not None and now is not None and now > first

        await eventually(later)
        await execute(engine, "SELECT 1")
