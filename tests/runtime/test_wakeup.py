"""How a commit reaches the producers: directly, by notification, or by the poll below both.

Where a test waits for a job while everything else is asleep for an hour, the job can only have been woken by what the
test is about.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from oban_sqla import Oban, job, migrations
from oban_sqla.enqueueing.wakeup import serve, unserve
from tests.runtime.helpers import execute, insert, until
from tests.support import eventually

ASLEEP = 3600.0


@job
async def noop() -> None: ...


@job(queue="elsewhere")
async def noop_elsewhere() -> None: ...


def runtime(engine: AsyncEngine, **options: Any) -> Oban:
    defaults: dict[str, Any] = {"queues": {"default": 2}, "poll_interval": ASLEEP}
    return Oban(engine, **(defaults | options))


def sent_on(engine: AsyncEngine) -> list[str]:
    statements: list[str] = []
    event.listen(engine.sync_engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    return statements


async def test_a_commit_wakes_the_runtime_of_its_process_without_notify(any_engine: AsyncEngine) -> None:
    async with runtime(any_engine):
        [warm] = await insert(any_engine, noop.new())
        await until(any_engine, warm, "completed")
        statements = sent_on(any_engine)
        [job_id] = await insert(any_engine, noop.new())
        await until(any_engine, job_id, "completed")
    assert not [sql for sql in statements if "pg_notify" in sql]


async def test_a_synchronous_session_in_a_thread_wakes_it_too(engine: AsyncEngine) -> None:
    sync = create_engine(engine.url.set(drivername="postgresql+psycopg"))

    def enqueue() -> int:
        spec = noop.new()
        with Session(sync) as session, session.begin():
            session.add(spec)
        assert spec.id is not None
        return spec.id

    try:
        async with runtime(engine):
            await until(engine, await asyncio.to_thread(enqueue), "completed")
    finally:
        sync.dispose()


async def test_a_commit_of_a_process_without_runtime_notifies(any_engine: AsyncEngine, engine: AsyncEngine) -> None:
    async with runtime(any_engine) as oban:
        assert oban._node is not None
        unserve(oban._node)  # as in another process
        [job_id] = await insert(engine, noop.new())
        await until(any_engine, job_id, "completed")
        serve(oban._node)


async def test_the_notifier_tells_other_nodes(any_engine: AsyncEngine) -> None:
    other = create_async_engine(any_engine.url)
    try:
        # The first one only enqueues; the other one has the queue, and is not told by the commit itself.
        async with Oban(any_engine, poll_interval=ASLEEP), runtime(other, node="other") as second:
            assert second._node is not None
            unserve(second._node)
            [job_id] = await insert(any_engine, noop.new())
            assert (await until(any_engine, job_id, "completed")).attempted_by[0] == "other"
    finally:
        await other.dispose()


async def test_a_rolled_back_job_neither_runs_nor_wakes(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    async with runtime(engine) as oban:
        woken: list[Any] = []
        monkeypatch.setattr(oban._node, "inserted", woken.append)
        async with AsyncSession(engine) as session:
            session.add(noop.new())
            await session.flush()
            await session.rollback()
            await session.execute(text("SELECT 1"))
            await session.commit()
        assert woken == []
        assert await execute(engine, "SELECT id FROM oban_jobs") == []


async def test_without_notifications_the_poll_finds_the_job(engine: AsyncEngine) -> None:
    async with Oban(engine, queues={"default": 2}, notify="off", poll_interval=0.05):
        [job_id] = await insert(engine, noop.new())
        await until(engine, job_id, "completed")


async def test_a_job_inserted_by_sql_alone_is_found_by_the_poll(engine: AsyncEngine) -> None:
    async with Oban(engine, queues={"default": 2}, poll_interval=0.05):
        sql = "INSERT INTO oban_jobs (worker) VALUES (:worker) RETURNING id"
        [[job_id]] = await execute(engine, sql, worker=noop.worker_name)
        await until(engine, job_id, "completed")


async def test_a_job_due_soon_wakes_a_stager_that_sleeps_long(any_engine: AsyncEngine) -> None:
    async with runtime(any_engine):
        [job_id] = await insert(any_engine, noop.options(schedule_in=0.2).new())
        done = await until(any_engine, job_id, "completed")
    assert done.attempted_at is not None
    assert done.attempted_at >= done.scheduled_at, "never before its time"


async def test_a_queue_that_this_node_does_not_work_is_left_alone(engine: AsyncEngine) -> None:
    async with runtime(engine):
        [elsewhere] = await insert(engine, noop_elsewhere.new())
        [mine] = await insert(engine, noop.new())
        await until(engine, mine, "completed")
        assert (await until(engine, elsewhere, "available")).attempt == 0


@pytest.mark.parametrize("schema", ["apart", "a" * 63], ids=["short", "longest"])
async def test_two_schemas_of_one_database_do_not_hear_each_other(engine: AsyncEngine, schema: str) -> None:
    await migrations.migrate(engine, schema=schema)
    apart = engine.execution_options(schema_translate_map={None: schema})
    try:
        async with runtime(apart, name="apart") as oban_apart, runtime(engine) as oban:
            heard: list[str] = []
            oban._node.notifier._heard = lambda name, payload: heard.append(name)  # type: ignore[union-attr]
            [job_id] = await insert(apart, noop.new())
            rows = await _eventually_completed(engine, schema, job_id)
            assert rows == [("completed",)]
            outside = Oban(apart, name="apart")
            await outside.pause_queue("default")
            await eventually(lambda: _paused(oban_apart, "default"))
            await outside.crons.put("nightly", "0 3 * * *", noop.new())
            await outside.crons.pause("nightly")
            assert heard == []
            assert oban_apart._node.schema == schema  # type: ignore[union-attr]
            assert await execute(engine, "SELECT id FROM public.oban_jobs") == []
    finally:
        await execute(engine, f"DROP SCHEMA {schema} CASCADE")


def _paused(oban: Oban, queue: str) -> bool:
    info = oban.check_queue(queue)
    return info is not None and info.paused


async def _eventually_completed(engine: AsyncEngine, schema: str, job_id: int) -> Any:
    async def rows() -> Any:
        found = await execute(engine, f"SELECT state::text FROM {schema}.oban_jobs WHERE id = {job_id}")
        assert found == [("completed",)], found
        return found

    return await eventually(rows)
