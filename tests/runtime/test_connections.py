"""How many connections a node holds, counted by the server."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from oban_sqla import Cron, Oban, Prune, job, telemetry
from oban_sqla.runtime.connections import CONNECTIONS
from oban_sqla.runtime.lanes.lane import Lane
from oban_sqla.runtime.lanes.line import Line
from oban_sqla.statements.ping import ping
from tests.cluster.helpers import lease_of_another
from tests.runtime.helpers import execute, insert, until
from tests.support import eventually

OPEN = """
    SELECT count(*) FROM pg_stat_activity
     WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> ALL($1::int[])
"""

Count = Callable[[], Awaitable[int]]


@job(name="connections.noop", queue="a")
async def noop() -> None: ...


@pytest.fixture
async def opened(database_url: str, any_engine: AsyncEngine) -> AsyncIterator[Count]:
    """Counts the connections that were opened since, apart from the engine's pool."""
    observer: Any = await asyncpg.connect(database_url.replace("+asyncpg", ""))
    await execute(any_engine, "SELECT 1")  # the pool holds one connection from now on
    there = await observer.fetch("SELECT pid FROM pg_stat_activity")

    async def count() -> int:
        return int(await observer.fetchval(OPEN, [row["pid"] for row in there]))

    yield count
    await observer.close()


async def stays_at(number: int, opened: Count) -> None:
    """Wait until the node holds so many connections, and still does after its loops have taken some steps."""

    async def reached() -> bool:
        return await opened() == number

    await eventually(reached)
    for _ in range(20):
        await asyncio.sleep(0.02)
        assert await opened() == number


async def test_a_follower_holds_four(any_engine: AsyncEngine, opened: Count) -> None:
    await lease_of_another(any_engine)
    async with Oban(any_engine, {"a": 1, "b": 1}, poll_interval=0.05):
        assert await opened() == 4, "from its start, so that a job that runs can be acknowledged"
        [job_id] = await insert(any_engine, noop.new())
        await until(any_engine, job_id, "completed")
        await stays_at(4, opened)
    await stays_at(0, opened)


async def test_a_node_that_only_enqueues_holds_two_and_a_third_one_to_enqueue(
    any_engine: AsyncEngine, opened: Count
) -> None:
    await lease_of_another(any_engine)
    async with Oban(any_engine) as oban:
        assert await opened() == 2
        await stays_at(2, opened)
        await oban.enqueue([noop.new()])
        assert await opened() == 3
        await stays_at(3, opened)
    await stays_at(0, opened)


async def test_a_leader_holds_five_and_two_more_for_moments(any_engine: AsyncEngine, opened: Count) -> None:
    crontab = [Cron("@reboot", noop, name="boot")]
    async with Oban(any_engine, {"a": 1}, prune=Prune(interval=0.02), crontab=crontab, poll_interval=0.05):

        async def booted() -> bool:
            return bool(await execute(any_engine, "SELECT 1 FROM oban_jobs WHERE state = 'completed'"))

        seen = {await opened()}
        await eventually(booted)
        for _ in range(200):
            seen.add(await opened())
        assert {5, 6} <= seen <= {4, 5, 6, 7}, "four at its start; six while it prunes"


async def test_a_leader_that_has_done_its_rounds_holds_five(any_engine: AsyncEngine, opened: Count) -> None:
    crontab = [Cron("@reboot", noop, name="boot")]
    rounds: list[Any] = []
    telemetry.attach("test", ["oban.pruner.prune.stop"], lambda _, fields: rounds.append(fields))
    try:
        async with Oban(any_engine, {"a": 1}, crontab=crontab):
            await eventually(lambda: execute(any_engine, "SELECT 1 FROM oban_jobs WHERE state = 'completed'"))
            await eventually(lambda: rounds)
            await stays_at(5, opened)
    finally:
        telemetry.detach("test")
    await stays_at(0, opened)


async def test_a_leader_that_is_one_no_more_holds_four(any_engine: AsyncEngine, opened: Count) -> None:
    async with Oban(any_engine, {"a": 1}, prune=None, leader_ttl=1.5, lifeline_interval=0.1) as oban:
        await stays_at(5, opened)
        taken = "UPDATE oban_leaders SET node = 'another', expires_at = timezone('UTC', now()) + interval '1 hour'"
        await execute(any_engine, taken)
        await eventually(lambda: not oban.is_leader)
        await stays_at(4, opened)


def test_the_number_is_said_in_the_same_words_where_an_engine_is_given() -> None:
    assert CONNECTIONS in " ".join((Oban.__doc__ or "").split())


async def test_a_session_is_set_up_in_one_round_trip(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    for name in ("execute", "fetch", "prepare"):
        monkeypatch.setattr(asyncpg.Connection, name, recording(getattr(asyncpg.Connection, name), sent))
    lane = Lane(Line(engine, pooled=False), "test")
    await lane.connect()
    assert len([command for command in sent if "SET plan_cache_mode" in command]) == 1
    sent.clear()
    await lane.run(ping)
    assert len(sent) == 1
    await lane.close()


def recording(method: Any, sent: list[str]) -> Any:
    async def recorded(connection: Any, command: str, *parameters: Any, **options: Any) -> Any:
        sent.append(command)
        return await method(connection, command, *parameters, **options)

    return recorded


async def test_a_direct_line_is_not_probed_for_a_pooler(
    any_engine: AsyncEngine, opened: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    run = Lane.run

    async def spy(lane: Lane, statement: Any, /, **parameters: Any) -> Any:
        if statement.name == "backend":
            asked.append(lane.name)
        return await run(lane, statement, **parameters)

    monkeypatch.setattr(Lane, "run", spy)
    async with Oban(any_engine, {"a": 1}):
        assert asked == ["upkeep"]


async def test_what_start_has_done_is_not_done_again_at_once(
    any_engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = Counter[str]()
    run = Lane.run

    async def spy(lane: Lane, statement: Any, /, **parameters: Any) -> Any:
        sent[statement.name] += 1
        return await run(lane, statement, **parameters)

    monkeypatch.setattr(Lane, "run", spy)
    async with Oban(any_engine, {"a": 1}, prune=None) as oban:
        await eventually(lambda: sent["stage_all"])  # its loops have taken their first steps
        assert oban.is_leader
        assert (sent["orders"], sent["elect"], sent["claim"], sent["beat"]) == (1, 1, 1, 1)


@pytest.mark.parametrize("pooled", [None, True])
async def test_a_node_works_with_an_engine_that_prepares_each_statement(
    database_url: str, clean_tables: None, pooled: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if pooled:
        monkeypatch.setattr("oban_sqla.runtime.connections.find_pooler", _found)
    url = make_url(database_url).set(drivername="postgresql+psycopg")
    engine = create_async_engine(url, connect_args={"prepare_threshold": 0})
    async with Oban(engine, {"a": 1}, poll_interval=0.1):
        [done] = await insert(engine, noop.new())
        await until(engine, done, "completed")
    await engine.dispose()


async def _found(line: Line, _lane: Lane) -> None:
    line.pooled = True
