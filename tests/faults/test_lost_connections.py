"""Backends that die under load, servers that restart, and a listener whose peer says nothing any more."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from oban_sqla import Heartbeat, Oban, current_job, job
from tests.faults.jobs import note, ran
from tests.faults.servers import restartable
from tests.integration.node import INSERT, RUNS
from tests.runtime.helpers import execute, finished, insert, until
from tests.support import eventually

OURS = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'oban_sqla'"


@job(name="faults.effect", backoff=0.05)
async def effect(session: AsyncSession) -> None:
    """Its effect commits with its completion."""
    running = current_job()
    ran[running.id, running.attempt] += 1
    await session.execute(INSERT, {"job_id": running.id, "attempt": running.attempt, "node": "here"})


async def _terminate(engine: AsyncEngine) -> int:
    """End the backends of the node's own connections, one after the other."""
    ended = 0
    for (pid,) in await execute(engine, f"SELECT pid {OURS}"):
        await execute(engine, "SELECT pg_terminate_backend(:pid)", pid=pid)
        ended += 1
        await asyncio.sleep(0.02)
    return ended


async def test_no_job_is_lost_or_doubled_while_every_backend_is_terminated_again_and_again(
    any_engine: AsyncEngine,
) -> None:
    async with Oban(any_engine, queues={"default": 20}, poll_interval=0.2):
        ended = 0
        ids: list[int] = []
        until_then = time.monotonic() + 4
        while time.monotonic() < until_then:
            if len(ids) < 1_500:  # a fast machine would not have done them all before the night
                ids += await insert(any_engine, *(note.options(priority=5).new(0.02) for _ in range(30)))
            ended += await _terminate(any_engine)
        [urgent] = await insert(any_engine, note.new())
        await until(any_engine, urgent, "completed", timeout=20)
        jobs = await finished(any_engine, ids, timeout=60)
        ids.append(urgent)
    assert ended > 10
    assert ran == {(job_id, 1): 1 for job_id in ids}
    assert {job.attempt for job in jobs} == {1}


async def test_effects_happen_once_while_the_sessions_of_the_jobs_are_terminated_too(engine: AsyncEngine) -> None:
    own = create_async_engine(engine.url, pool_size=10, connect_args={"server_settings": {"application_name": "mine"}})
    await execute(engine, RUNS)
    try:
        async with Oban(own, queues={"default": 10}, sessionmaker=async_sessionmaker(own), poll_interval=0.1):
            ids = await insert(engine, *(effect.new() for _ in range(300)))
            for _ in range(30):
                await execute(
                    engine,
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
                    "AND datname = current_database() AND application_name IN ('mine', 'oban_sqla') "
                    "AND random() < 0.4",
                )
                await asyncio.sleep(0.03)
            await finished(engine, ids, timeout=20)
        effects = Counter(run.job_id for run in await execute(engine, "SELECT job_id FROM runs"))
        assert effects == Counter(ids)
    finally:
        await execute(engine, "DROP TABLE runs")
        await own.dispose()


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_after_a_restart_of_the_server_it_works_again_within_five_seconds_and_no_run_is_doubled(
    reachable: Path, driver: str
) -> None:
    async with restartable(reachable / "data") as server:
        direct = create_async_engine(server.direct)
        url = make_url(server.url).set(drivername=f"postgresql+{driver}")
        through = create_async_engine(url)
        async with Oban(through, queues={"default": 20}, poll_interval=0.5):
            ids: list[int] = []
            for how in ("fast", "immediate", "fast"):
                ids += await insert(direct, *(note.new(0.01) for _ in range(300)))
                half_done = len(ids) - 150
                await eventually(partial(_have_run, half_done), 20)
                await direct.dispose()
                await server.down(how)
                await asyncio.sleep(1.5)  # long enough that every loop has begun to wait between its attempts
                server.up()
                answers = time.monotonic()
                direct = create_async_engine(server.direct)
                ids += await insert(direct, fresh := note.new())
                assert fresh.id is not None
                await until(direct, fresh.id, "completed", timeout=20)
                took = time.monotonic() - answers
                print(f"after a {how} restart: {took:.1f} s")
                assert took < 12, "five, on a machine that is free"
            await finished(direct, ids, timeout=20)
            producers = "SELECT count(*) FROM oban_producers"
            await eventually(lambda: _scalar(direct, producers), 20)  # the crash had emptied the table
        # What is executed when the server dies is committed or not; a heard answer means it is, so nothing runs twice.
        assert ran == {(job_id, 1): 1 for job_id in ids}
        await direct.dispose()
        await through.dispose()


def _have_run(count: int) -> bool:
    return len(ran) >= count


async def _scalar(engine: AsyncEngine, sql: str) -> Any:
    return (await execute(engine, sql))[0][0]


@pytest.fixture
def stopped() -> Iterator[list[int]]:
    """Processes that the test has stopped; they go on at its end."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_listener_whose_peer_says_nothing_any_more_is_replaced_within_five_seconds(
    engine: AsyncEngine, stopped: list[int], driver: str
) -> None:
    listening = create_async_engine(engine.url.set(drivername=f"postgresql+{driver}"))
    try:
        # No poll and no beat in the time of the test: the listener finds out alone, and a notification alone wakes it.
        beat = Heartbeat(interval=60, stale_after=180)
        async with Oban(listening, queues={"default": 5}, poll_interval=60, heartbeat=beat) as oban:
            assert oban._node is not None
            connection: Any = oban._node.notifier.lane._driver
            pid = connection.get_server_pid() if driver == "asyncpg" else connection.info.backend_pid
            try:
                os.kill(pid, signal.SIGSTOP)
            except (ProcessLookupError, PermissionError):
                pytest.skip("the server's processes are not ours to stop")
            stopped.append(pid)
            began = time.monotonic()
            before = oban._node.notifier.lane.connections
            await eventually(lambda: oban._node is not None and oban._node.notifier.lane.connections > before, 20)
            assert time.monotonic() - began < 15, "five, on a machine that is free; all else comes after sixty"
            await execute(
                engine,
                "INSERT INTO oban_jobs (worker) SELECT 'faults.note' FROM generate_series(1, 5)",
            )
            await execute(engine, """SELECT pg_notify('public.oban_insert', '{"queue": "default"}')""")
            await eventually(lambda: len(ran) == 5, 20)
    finally:
        await listening.dispose()
