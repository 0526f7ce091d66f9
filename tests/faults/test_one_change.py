"""Single calls of a program: after the server was restarted, while it says nothing, and while it starts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import DatabaseUnavailable, Oban
from oban_sqla.control import answering
from tests.faults.jobs import note
from tests.faults.proxy import Proxy
from tests.runtime.helpers import execute, load
from tests.support import eventually

CALLS: dict[str, Callable[[Oban, int], Awaitable[object]]] = {
    "update": lambda oban, id: oban.update(id, priority=3),
    "cancel": lambda oban, id: oban.cancel(id),
    "retry": lambda oban, id: oban.retry(id),
    "signal": lambda oban, id: oban.signal(id, "go"),
    "why": lambda oban, id: oban.why(id),
    "logs": lambda oban, id: oban.logs(id),
    "delete": lambda oban, id: oban.delete(id),
    "enqueue": lambda oban, id: oban.enqueue(note.new()),
    "pause_queue": lambda oban, id: oban.pause_queue("default"),
    "crons.all": lambda oban, id: oban.crons.all(),
    "limiter.suspend": lambda oban, id: oban.limiter("default").suspend(1),
}


async def test_a_call_after_a_restart_of_the_server_is_carried_out_on_another_connection(
    proxied: AsyncEngine, between: Proxy
) -> None:
    oban = Oban(proxied, {"default": 1})
    [spec] = await oban.enqueue(note.options(schedule_in=60).new())
    assert spec.id is not None
    for name, call in CALLS.items():
        between.cut()
        await eventually(lambda: between.open == 0)
        opened = between.opened
        await call(oban, spec.id)
        assert between.opened == opened + 1, name
    between.cut()
    health = await oban.health()
    assert health.database is not None


async def test_a_call_gives_a_silent_server_up_and_has_changed_nothing(
    engine: AsyncEngine, proxied: AsyncEngine, between: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "PATIENCE", 0.1)
    monkeypatch.setattr(answering, "FRESH", 0.0)
    monkeypatch.setattr("oban_sqla.insight.health.PATIENCE", 0.1)
    oban = Oban(proxied, {"default": 1})
    [spec] = await oban.enqueue(note.options(schedule_in=60).new())
    assert spec.id is not None
    between.stall()
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable, match="does not answer, nothing was written"):
        await asyncio.wait_for(oban.cancel(spec), 10)
    assert (await asyncio.wait_for(oban.health(), 10)).database is None
    assert time.monotonic() - began < 5
    assert (await load(engine, spec.id)).state == "scheduled"
    between.flow()
    assert await oban.cancel(spec) == 1


async def test_a_change_whose_answer_was_lost_is_not_made_again(proxied: AsyncEngine, between: Proxy) -> None:
    oban = Oban(proxied, {"default": 1})
    [spec] = await oban.enqueue(note.options(schedule_in=60).new())
    assert spec.id is not None
    trap = between.lose_answer("UPDATE oban_jobs")
    with pytest.raises(DBAPIError):
        await oban.cancel(spec)
    assert trap.sprung.is_set()
    assert sum(number for sql, number in between.executed.items() if "UPDATE oban_jobs" in sql) == 1


async def test_a_call_that_is_cancelled_while_it_asks_leaves_the_pool_usable(
    engine: AsyncEngine, proxied: AsyncEngine, between: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "FRESH", 0.0)
    oban = Oban(proxied, {"default": 1})
    await oban.crons.all()
    between.stall()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await oban.crons.all()
    between.flow()
    assert await oban.crons.all() == []
    assert proxied.pool.checkedout() == 0  # type: ignore[attr-defined]
    assert await execute(engine, "SELECT 1") is not None


@pytest.mark.parametrize(
    "said", ["das Datenbanksystem startet gerade", "the database system is not yet accepting connections"]
)
async def test_a_node_waits_for_a_server_that_starts_in_whatever_language_it_says_so(
    proxied: AsyncEngine, between: Proxy, said: str
) -> None:
    between.refuses_with = ("57P03", said)
    oban = Oban(proxied, {})
    starting = asyncio.create_task(oban.start())
    await eventually(lambda: between.refused > 2)
    between.refuses_with = None
    await starting
    await oban.stop()
