"""Behind a PgBouncer in transaction mode: no notifications, no session; everything works by polling."""

from __future__ import annotations

import logging
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from oban_sqla import Heartbeat, JobSpec, Oban, Snooze, current_job, job
from oban_sqla.runtime.lanes.pooler import behind_transaction_pooler
from tests.cluster.helpers import BRISK, QUICK, executing, producer
from tests.cluster.pgbouncer import needed, pgbouncer
from tests.integration.node import RUNS, pooled
from tests.integration.nodes import node
from tests.runtime.helpers import execute, finished, insert, load, until
from tests.support import eventually

pytestmark = needed

DRIVERS = pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])


@job(queue="a")
async def noop() -> None: ...


@job(queue="a")
async def writes(session: AsyncSession, text_: str = "done") -> None:
    await session.execute(text("INSERT INTO effects VALUES (:job)"), {"job": current_job().id})


@job(queue="a", backoff=0.1)
async def changes_its_mind() -> None:
    match current_job().attempt, current_job().meta.get("snoozed"):
        case 1, None:
            raise Snooze(0.1)
        case 1, _:
            raise ValueError("once")
        case _:
            pass


@asynccontextmanager
async def behind(
    url: str, driver: str = "asyncpg", mode: str = "transaction", pool_size: int = 5
) -> AsyncGenerator[AsyncEngine]:
    async with pgbouncer(url, mode, pool_size) as address:
        address = address.set(drivername=f"postgresql+{driver}")
        engine = create_async_engine(address, connect_args=pooled(str(address)))
        yield engine
        await engine.dispose()


@DRIVERS
async def test_it_is_found_out_and_said_once(
    engine: AsyncEngine, database_url: str, driver: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with behind(database_url, driver) as through:
        assert await behind_transaction_pooler(through)
        with caplog.at_level(logging.WARNING, "oban_sqla"):
            async with Oban(through, queues={"a": 1}):
                pass
        said = [record.message.partition(":")[0] for record in caplog.records if "pooler" in record.message]
        assert said == ["this node connects through a transaction pooler"]


@DRIVERS
async def test_one_with_a_single_connection_is_found_out(engine: AsyncEngine, database_url: str, driver: str) -> None:
    async with behind(database_url, driver, pool_size=1) as through:
        assert await behind_transaction_pooler(through)


@DRIVERS
async def test_a_session_pooler_is_as_good_as_none(engine: AsyncEngine, database_url: str, driver: str) -> None:
    async with behind(database_url, driver, mode="session", pool_size=20) as through:
        assert not await behind_transaction_pooler(through)
        async with Oban(through, queues={"a": 1}, poll_interval=3600.0):
            [job_id] = await insert(engine, noop.new())
            await until(engine, job_id, "completed")


async def test_a_direct_connection_is_known_as_one(any_engine: AsyncEngine) -> None:
    for _ in range(3):
        assert not await behind_transaction_pooler(any_engine)


@DRIVERS
async def test_jobs_run_and_end_as_they_should(engine: AsyncEngine, database_url: str, driver: str) -> None:
    await execute(engine, "CREATE TABLE effects (job bigint)")
    try:
        async with (
            behind(database_url, driver) as through,
            Oban(through, queues={"a": 10}, sessionmaker=async_sessionmaker(through), poll_interval=0.1) as oban,
        ):
            plain = await insert(through, *(noop.new() for _ in range(200)))
            effects = await insert(through, *(writes.new() for _ in range(50)))
            [due] = await insert(through, noop.options(schedule_in=0.3).new())
            [twice] = await insert(through, changes_its_mind.new())
            by_facade = await oban.enqueue(*(noop.new() for _ in range(3)))
            await finished(engine, [*plain, *effects, due, twice, *(spec.id or 0 for spec in by_facade)])
            again = await load(engine, twice)
            assert (again.attempt, again.meta["snoozed"], len(again.errors)) == (2, 1, 1)
        assert sorted(job for (job,) in await execute(engine, "SELECT job FROM effects")) == effects
    finally:
        await execute(engine, "DROP TABLE effects")


@DRIVERS
async def test_nothing_of_a_session_is_left_with_the_server(
    engine: AsyncEngine, database_url: str, driver: str
) -> None:
    async with behind(database_url, driver, pool_size=3) as through:
        async with Oban(through, queues={"a": 10}, poll_interval=0.05):
            await finished(engine, await insert(through, *(noop.new() for _ in range(50))))
            [[locks]] = await execute(
                engine,
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = "
                "(SELECT oid FROM pg_database WHERE datname = current_database())",
            )
            assert locks == 0
            rows = await execute(engine, "SELECT meta->'locked' FROM oban_producers")
            assert rows == [(False,)]
        # What whoever gets the connections next would find.
        state = (
            "SELECT current_setting('plan_cache_mode'), current_setting('application_name'), "
            "(SELECT count(*) FROM pg_listening_channels()), (SELECT count(*) FROM pg_prepared_statements)"
        )
        for _ in range(10):
            assert await execute(through, state) == [("auto", "", 0, 0)]


async def test_a_node_behind_it_is_dead_by_its_silence_alone(engine: AsyncEngine, database_url: str) -> None:
    """Four times as long as with a lock, because nothing else speaks for it."""
    said = '{"locked": false, "stale_after": 15}'
    alive = await executing(engine, await producer(engine, said, silent="50 seconds"))
    dead = await executing(engine, await producer(engine, said, silent="61 seconds"))
    async with Oban(engine, **QUICK):
        await until(engine, dead, "available")
        assert (await load(engine, alive)).state == "executing"


async def test_a_living_node_behind_it_keeps_its_jobs(engine: AsyncEngine, database_url: str) -> None:
    async with behind(database_url) as through:
        options: dict[str, Any] = QUICK | {"heartbeat": Heartbeat(interval=0.1, stale_after=0.5)}
        async with Oban(through, queues={"a": 1}, poll_interval=0.1, **options) as oban:
            await eventually(lambda: oban._node is not None and oban._node.lifeline._sight > 3.0)
            assert oban.is_leader
            [job_id] = await insert(through, noop.new())
            assert (await until(engine, job_id, "completed")).attempt == 1


@DRIVERS
async def test_two_processes_run_each_job_once_and_one_takes_over_from_the_other(
    engine: AsyncEngine, database_url: str, driver: str
) -> None:
    await execute(engine, RUNS)
    try:
        async with pgbouncer(database_url, pool_size=10) as address:
            url = address.set(drivername=f"postgresql+{driver}").render_as_string(hide_password=False)
            options: dict[str, Any] = BRISK | {"pooled": True, "poll_interval": 0.2, "shutdown_grace": 0.5}
            async with (
                node(url, "default=20", node="one", **options) as one,
                node(url, "default=20", node="two", **options),
            ):
                ids = await insert(engine, *(JobSpec("node.logged") for _ in range(1_000)))
                await finished(engine, ids, timeout=60)
                runs = await execute(engine, "SELECT job_id, attempt FROM runs")
                assert sorted(runs) == [(job_id, 1) for job_id in sorted(ids)]
                await insert(engine, *(JobSpec("node.first_hangs") for _ in range(30)))

                async def all_run() -> bool:
                    states = await execute(engine, "SELECT count(*) FROM oban_jobs WHERE state = 'executing'")
                    return states == [(30,)]

                await eventually(all_run)
                one.signal(signal.SIGKILL)
                taken = "SELECT count(*) FROM oban_jobs WHERE attempted_by[1] = 'one' AND state = 'executing'"
                [[count]] = await execute(engine, taken)
                assert count

                async def rescued() -> bool:
                    return await execute(engine, taken) == [(0,)]

                await eventually(rescued, timeout=30)
    finally:
        await execute(engine, "DROP TABLE runs")
