"""Staging is the leader's; the others poll, with one statement for all their queues."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from oban_sqla import Heartbeat, Oban, Snooze, current_job, job
from oban_sqla.runtime.duties import stager
from oban_sqla.runtime.lanes.lane import Lane
from tests.cluster.helpers import lease_of_another
from tests.runtime.helpers import execute, insert, load, until
from tests.support import eventually

MANY = {f"queue {number}": 1 for number in range(50)}


@job(queue="a")
async def noop() -> None: ...


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[int, str]]:
    """How often each node's lanes ran each statement."""
    counted: Counter[tuple[int, str]] = Counter()
    run = Lane.run

    async def counting(lane: Lane, statement: Any, /, **parameters: Any) -> Any:
        counted[id(lane._line), statement.name] += 1
        return await run(lane, statement, **parameters)

    monkeypatch.setattr(Lane, "run", counting)
    return counted


def of(oban: Oban, statements: Counter[tuple[int, str]]) -> Counter[str]:
    assert oban._node is not None
    return Counter({name: n for (line, name), n in statements.items() if line == id(oban._node.connections.line)})


@pytest.mark.parametrize("queues", [{"a": 1}, MANY], ids=["one queue", "fifty queues"])
async def test_an_idle_node_is_quiet(
    engine: AsyncEngine, statements: Counter[tuple[int, str]], queues: dict[str, int]
) -> None:
    """Everything is ten times as fast as by default: a second stands for ten."""
    quick: dict[str, Any] = {
        "poll_interval": 0.1,
        "heartbeat": Heartbeat(interval=0.5, stale_after=1.5),
        "leader_ttl": 1.5,
        "lifeline_interval": 0.5,
        "queues": queues,
    }
    async with Oban(engine, **quick) as leader, Oban(engine, **quick) as follower:
        await asyncio.sleep(0.5)
        statements.clear()
        began = time.monotonic()
        await asyncio.sleep(2.0)
        seconds = 10 * (time.monotonic() - began)
        led, followed = of(leader, statements), of(follower, statements)
    # These have intervals of their own: at most 0.2, 0.2 and 0.2 a second.
    for counted in (led, followed):
        for name in ("ping", "orders", "entries"):
            del counted[name]
    assert followed.total() / seconds <= 0.9 - 0.4, followed
    assert led.total() / seconds <= 1.5 - 0.6, led
    assert followed["poll"] >= 2
    assert led["stage_all"] >= 2


async def test_the_leader_stages_every_queue_and_tells_its_nodes(engine: AsyncEngine) -> None:
    other = create_async_engine(engine.url)
    try:
        async with (
            Oban(engine, queues={"b": 1}, poll_interval=0.05) as leader,
            Oban(other, queues={"a": 1}, poll_interval=3600.0),
        ):
            assert leader.is_leader
            [job_id] = await insert(engine, noop.options(schedule_in=0.3).new())
            await until(engine, job_id, "completed")
            sql = "INSERT INTO oban_jobs (worker, queue, state) VALUES ('x', 'nobodys', 'scheduled') RETURNING id"
            [[unserved]] = await execute(engine, sql)
            await until(engine, unserved, "available")
    finally:
        await other.dispose()


@job(queue="a")
async def snoozes() -> None:
    if not current_job().meta.get("snoozed"):
        raise Snooze(0.3)


@job(queue="a")
async def snoozes_in_its_transaction(session: AsyncSession) -> Snooze | None:
    return None if current_job().meta.get("snoozed") else Snooze(0.3)


@pytest.mark.parametrize("worker", [snoozes, snoozes_in_its_transaction])
async def test_the_leader_is_told_of_a_job_that_another_node_will_run_again_soon(
    engine: AsyncEngine, worker: Any
) -> None:
    other = create_async_engine(engine.url)
    try:
        async with (
            Oban(engine, poll_interval=3600.0) as leader,
            Oban(other, queues={"a": 1}, poll_interval=3600.0, sessionmaker=async_sessionmaker(other)),
        ):
            assert leader.is_leader
            [job_id] = await insert(engine, worker.new())
            assert (await until(engine, job_id, "completed")).meta == {"snoozed": 1}
    finally:
        await other.dispose()


async def test_without_a_leader_each_node_stages_for_its_own_queues(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stager, "GRACE", 0.2)
    await lease_of_another(engine)
    async with Oban(engine, queues={"a": 1}, poll_interval=0.05) as oban:
        sql = "INSERT INTO oban_jobs (worker, queue, state) VALUES (:worker, :queue, 'scheduled') RETURNING id"
        [[unserved]] = await execute(engine, sql, worker="x", queue="nobodys")
        [[mine]] = await execute(engine, sql, worker=noop.worker_name, queue="a")
        await until(engine, mine, "completed")
        assert not oban.is_leader
        assert (await load(engine, unserved)).state == "scheduled"


async def test_a_poll_finds_what_no_notification_told(engine: AsyncEngine) -> None:
    await lease_of_another(engine)
    async with Oban(engine, queues={"a": 1}, poll_interval=0.05):
        sql = "INSERT INTO oban_jobs (worker, queue) VALUES (:worker, 'a') RETURNING id"
        [[job_id]] = await execute(engine, sql, worker=noop.worker_name)
        await until(engine, job_id, "completed")


async def test_a_job_at_the_end_of_time_does_not_stop_the_staging(engine: AsyncEngine) -> None:
    """PostgreSQL can't subtract infinite times, and strangers can write them."""
    sql = "INSERT INTO oban_jobs (worker, queue, state, scheduled_at) VALUES ('x', 'a', :state, :at) RETURNING id"
    sql = sql.replace(":state", "'{}'").replace(":at", "'{}'")
    ids = {
        at: (await execute(engine, sql.format(state, at)))[0][0]
        for at, state in (("infinity", "scheduled"), ("-infinity", "retryable"), ("294275-01-01", "scheduled"))
    }
    async with Oban(engine, poll_interval=0.05):
        await until(engine, ids["-infinity"], "available")
        [job_id] = await insert(engine, noop.options(schedule_in=0.2).new())
        await until(engine, job_id, "available")
    rows = await execute(engine, "SELECT count(*) FROM oban_jobs WHERE state = 'scheduled'")
    assert rows == [(2,)]


async def test_a_large_backlog_is_staged_in_batches(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stager, "LARGEST_BATCH", 100)
    await execute(
        engine,
        "INSERT INTO oban_jobs (worker, queue, state, scheduled_at) "
        "SELECT 'x', 'q' || i % 7, 'scheduled', '2020-01-01' FROM generate_series(1, 1050) i",
    )
    async with Oban(engine, poll_interval=3600.0):

        async def staged() -> bool:
            return await execute(engine, "SELECT state::text, count(*) FROM oban_jobs GROUP BY 1") == [
                ("available", 1050)
            ]

        await eventually(staged)
