"""What becomes useless while a node rests, and what has gone when it is needed again."""

from __future__ import annotations

import threading
from typing import Any

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import Oban, Record, job
from tests.faults.jobs import in_thread, note, runs
from tests.runtime.helpers import execute, finished, insert, load, until
from tests.support import eventually

END = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid() AND {}"
)
OURS = "application_name = 'oban_sqla'"
ALL = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND {}"


async def end_connections(engine: AsyncEngine, which: str) -> None:
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")  # or it would see the same all the time
        await connection.exec_driver_sql(END.format(which))
        await eventually(lambda: _none(connection, which))


async def _none(connection: Any, which: str) -> bool:
    return (await connection.exec_driver_sql(ALL.format(which))).scalar_one() == 0


async def test_jobs_are_enqueued_although_the_server_has_closed_the_connection_since_the_last_one(
    any_engine: AsyncEngine,
) -> None:
    async with Oban(any_engine) as oban:
        await oban.enqueue(note.new())
        assert oban._node is not None
        backend = await oban._node.connections.inserting.promised_backend()
        await end_connections(any_engine, f"pid = {backend}")
        [spec] = await oban.enqueue(note.new())
        assert spec.id is not None
        assert (await load(any_engine, spec.id)).state == "available"


class Leaving:
    """A connection of asyncpg between the goodbye of the server and the end of the line."""

    async def fetch(self, *_: object) -> None:
        raise asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress")


async def test_jobs_are_enqueued_although_the_server_is_just_taking_its_leave(engine: AsyncEngine) -> None:
    async with Oban(engine) as oban:
        await oban.enqueue(note.new())
        assert oban._node is not None
        lane: Any = oban._node.connections.inserting
        before, lane._asyncpg = lane.connections, Leaving()
        [spec] = await oban.enqueue(note.new())
        assert spec.id is not None
        assert (await load(engine, spec.id)).state == "available"
        assert lane.connections == before + 1


async def test_a_node_starts_although_the_server_has_closed_the_connections_of_the_pool(
    any_engine: AsyncEngine,
) -> None:
    connections = [await any_engine.connect() for _ in range(3)]
    for connection in connections:
        await connection.exec_driver_sql("SET application_name = 'of the pool'")
        await connection.commit()
    for connection in connections:
        await connection.close()
    plain = any_engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    other = await asyncpg.connect(plain)
    try:
        await other.execute(END.format("application_name = 'of the pool'"))
        async with Oban(any_engine, queues={"default": 2}) as oban:
            assert oban.loops
    finally:
        await other.close()


@job(name="rest.record_first")
async def record_first() -> Record | None:
    """Records a value in its first run only."""
    runs_of.append(1)
    return Record("the first") if len(runs_of) == 1 else None


runs_of: list[int] = []


@pytest.mark.parametrize("by", ["oban", "another program"])
async def test_a_job_that_is_retried_and_then_records_nothing_has_no_result(any_engine: AsyncEngine, by: str) -> None:
    runs_of.clear()
    async with Oban(any_engine, queues={"default": 2}, poll_interval=0.05) as oban:
        [job_id] = await insert(any_engine, record_first.options(meta={"mine": 1}).new())
        await finished(any_engine, [job_id])
        assert await oban.result(job_id) == "the first"
        if by == "oban":
            assert await oban.retry(job_id) == 1
        else:
            await execute(any_engine, f"UPDATE oban_jobs SET state = 'available' WHERE id = {job_id}")
        await eventually(lambda: len(runs_of) == 2)
        done = await until(any_engine, job_id, "completed")
        assert await oban.result(job_id) is None
    assert done.meta["mine"] == 1


async def test_a_job_that_failed_because_no_thread_could_be_started_is_not_run_later_too(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Oban(engine, queues={"default": 2}) as oban:
        assert oban._node is not None
        original = threading.Thread.start

        def refuse(thread: threading.Thread) -> None:
            if thread.name.startswith("oban-"):
                raise RuntimeError("can't start new thread")
            original(thread)

        monkeypatch.setattr(threading.Thread, "start", refuse)
        [failed] = await insert(engine, in_thread.new())
        assert "can't start new thread" in (await until(engine, failed, "retryable")).errors[0]["error"]
        monkeypatch.undo()
        later = await insert(engine, in_thread.new())
        await finished(engine, later)
        assert (runs(failed), runs(later[0])) == (0, 1)
