"""Processes that are forked from one with a node, and nodes whose event loop is over."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import warnings
from collections.abc import Iterable

import psycopg
import pytest
from sqlalchemy import Engine, Pool, create_engine, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.orm import Session

from oban_sqla import JobSpec, Oban
from oban_sqla.enqueueing import wakeup
from oban_sqla.runtime.lanes import forks
from oban_sqla.runtime.lanes.driver import promised_backend
from oban_sqla.runtime.lanes.lane import Lane
from oban_sqla.runtime.lanes.line import Line
from tests.faults.jobs import note
from tests.integration.nodes import node
from tests.runtime.helpers import execute, insert, until
from tests.support import eventually

OURS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'oban_sqla' AND datname = current_database()"


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_node_that_was_killed_is_dead_although_a_job_has_forked_a_child_that_lives(
    engine: AsyncEngine, driver: str
) -> None:
    url = engine.url.set(drivername=f"postgresql+{driver}").render_as_string(hide_password=False)
    async with node(url) as process:
        await insert(engine, JobSpec("node.forks"))
        said = await eventually(lambda: re.search(r"child (\d+)\.", process.text), 60)
        child = int(said[1])
        try:

            async def connections() -> int:
                return (await execute(engine, OURS))[0][0]

            async def all_there() -> bool:  # the node makes some of them when it first needs them
                return await connections() >= 4

            async def gone() -> bool:
                return await connections() == 0

            await eventually(all_there, 60)
            process.signal(signal.SIGKILL)
            await eventually(gone, 60)
            os.kill(child, 0)  # it lives
        finally:
            os.kill(child, signal.SIGKILL)


async def test_a_forked_child_closes_none_of_its_parents_sessions_and_its_jobs_wake_the_parent(
    any_engine: AsyncEngine,
) -> None:
    async with Oban(any_engine, queues={"default": 5}, poll_interval=60) as oban:
        [before] = await insert(any_engine, note.new())
        await until(any_engine, before, "completed")
        assert oban._node is not None
        connections = oban._node.connections.fetching.connections
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forks in a process with threads
            child = os.fork()
        if child == 0:
            os._exit(_enqueue(any_engine.url.set(drivername="postgresql+psycopg").render_as_string(False)))
        ended = await asyncio.to_thread(os.waitpid, child, 0)
        assert ended == (child, 0)

        async def ran() -> bool:
            return bool(
                await execute(
                    any_engine,
                    "SELECT 1 FROM oban_jobs WHERE queue = 'default' AND id > :id AND state = 'completed'",
                    id=before,
                )
            )

        await eventually(ran, 40)
        assert oban._node.connections.fetching.connections == connections


def _enqueue(url: str) -> int:
    """In the child."""
    try:
        if wakeup._started:
            return 2
        with Session(create_engine(url)) as session:
            session.add(note.new())
            session.commit()
        return 0
    except BaseException:
        return 1


def test_a_commit_wakes_other_nodes_although_the_loop_of_this_process_node_does_not_run(
    database_url: str, sync_engine: Engine
) -> None:
    loop = asyncio.new_event_loop()
    engine = create_async_engine(make_url(database_url))
    oban = Oban(engine)
    loop.run_until_complete(oban.start())
    try:
        plain = sync_engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(plain, autocommit=True) as listening:
            listening.execute('LISTEN "public.oban_insert"')
            with Session(sync_engine) as session:
                session.add(note.new())
                session.commit()
            assert [notice.payload for notice in listening.notifies(timeout=5, stop_after=1)] == [
                '{"queue": "default"}'
            ]
    finally:
        loop.run_until_complete(oban.stop())
        loop.run_until_complete(engine.dispose())
        loop.close()


class Broken:
    """A runtime that can't be told any more."""

    notify = "auto"
    schema: str | None = None
    identity = ("", "")
    can_be_woken = True
    encryption = None

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    def inserted(self, queues: Iterable[str]) -> None:
        raise RuntimeError("Event loop is closed")

    def soon(self) -> None:
        raise RuntimeError("Event loop is closed")


def test_a_commit_that_wakes_a_runtime_in_vain_raises_nothing(
    sync_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Broken(sync_engine.pool)
    wakeup.serve(broken)  # type: ignore[arg-type]
    try:
        with Session(sync_engine) as session:
            session.add(note.new())
            session.commit()
    finally:
        wakeup.unserve(broken)  # type: ignore[arg-type]
    assert "waking the runtime" in caplog.text


async def test_a_connection_during_whose_making_a_child_was_forked_is_made_anew(
    any_engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = Line(any_engine, pooled=False)
    lane = Lane(line, "forked")
    settle = lane._settle
    met: list[int] = []

    async def settle_while_forking(connection: AsyncConnection) -> None:
        await settle(connection)
        if not met:
            forks._count()  # as after a fork
        met.append(promised_backend(lane.driver))

    monkeypatch.setattr(lane, "_settle", settle_while_forking)
    try:
        await lane.connect()
        assert len(set(met)) == 2
        sql = f"SELECT 1 FROM pg_stat_activity WHERE pid = {met[0]}"

        async def ended() -> bool:
            return not await execute(any_engine, sql)

        await eventually(ended)
    finally:
        await lane.close()
        await line.close()
