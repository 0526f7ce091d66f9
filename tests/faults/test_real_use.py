"""What real use found: each test is named after what a user sees."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

import pytest
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Delete, NullPool, Update, make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session

from oban_sqla import Job, Oban, ObanError, Queue, enqueue, job, migrations
from oban_sqla.runtime.acks import parameters
from oban_sqla.runtime.verdict import given_back
from oban_sqla.statements.ack import acknowledge
from oban_sqla.testing import drain
from tests.runtime.helpers import execute, finished, insert, load, until
from tests.support import eventually

seen: list[object] = []
tenant: ContextVar[str] = ContextVar("tenant", default="none")
gate = asyncio.Event()


@job
async def misuse(session: AsyncSession, how: str) -> None:
    insert_note = text("INSERT INTO real_notes VALUES (:how)")
    match how:
        case "with":
            async with session:
                await session.execute(insert_note, {"how": how})
        case "close":
            await session.execute(insert_note, {"how": how})
            await session.close()
        case "with, before a flush":
            async with session:
                session.add(tell_context.new())
        case "close, after a savepoint":
            await session.execute(insert_note, {"how": how})
            with contextlib.suppress(ValueError):
                async with session.begin_nested():
                    raise ValueError
            await session.close()
        case "connection, after a savepoint":
            await session.execute(insert_note, {"how": how})
            with contextlib.suppress(ValueError):
                async with session.begin_nested():
                    raise ValueError
            await (await session.connection()).commit()
        case "connection":
            await session.execute(insert_note, {"how": how})
            await (await session.connection()).commit()
        case "connection, and on":
            await session.execute(insert_note, {"how": how})
            await (await session.connection()).commit()
            await session.execute(insert_note, {"how": how})
        case "rollback":
            await session.execute(insert_note, {"how": "undone"})
            await session.rollback()
            await session.execute(insert_note, {"how": how})
        case _:
            await session.execute(insert_note, {"how": how})


@job
async def tell_context() -> None:
    seen.append(tenant.get())
    tenant.set("of a job")


running: list[Oban] = []


@job
async def stop_it() -> None:
    seen.append(await running.pop().stop())


@job(deadline=2)
async def hold() -> None:
    seen.append("began")
    await gate.wait()


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    global gate
    seen.clear()
    gate = asyncio.Event()


@pytest.fixture
async def notes(engine: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    await execute(engine, "CREATE TABLE IF NOT EXISTS real_notes (note text)")
    yield engine
    await execute(engine, "DROP TABLE real_notes")


async def noted(engine: AsyncEngine) -> list[str]:
    return [row[0] for row in await execute(engine, "SELECT note FROM real_notes")]


def maker_of(engine: AsyncEngine, **options: Any) -> async_sessionmaker[AsyncSession]:
    return async_sessionmaker(engine, expire_on_commit=False, **options)


@pytest.mark.parametrize(
    ("how", "word"),
    [
        ("with", "closed its session"),
        ("close", "closed its session"),
        ("with, before a flush", "closed its session"),
        ("close, after a savepoint", "closed its session"),
        ("connection, after a savepoint", "ended the transaction"),
        ("connection", "ended the transaction"),
        ("connection, and on", "ended the transaction"),
    ],
)
async def test_a_job_that_ends_its_own_transaction_fails_and_says_so(notes: AsyncEngine, how: str, word: str) -> None:
    async with Oban(notes, queues={"default": 5}, sessionmaker=maker_of(notes)):
        [job_id] = await insert(notes, misuse.new(how))
        assert word in (await until(notes, job_id, "retryable")).errors[0]["error"]


async def test_a_job_may_roll_back_and_go_on(notes: AsyncEngine) -> None:
    async with Oban(notes, queues={"default": 5}, sessionmaker=maker_of(notes)):
        await finished(notes, await insert(notes, misuse.new("rollback")))
    assert await noted(notes) == ["rollback"]


@pytest.fixture
async def routing(notes: AsyncEngine) -> AsyncIterator[async_sessionmaker[AsyncSession]]:
    """Makes sessions that read from a replica."""
    replica = create_async_engine(notes.url, connect_args={"server_settings": {"default_transaction_read_only": "on"}})

    class Routing(Session):
        def get_bind(self, mapper: Any = None, *, clause: Any = None, **given: Any) -> Any:
            writes = self._flushing or isinstance(clause, Update | Delete) or not isinstance(clause, type(None))
            return (notes if writes else replica).sync_engine

    yield async_sessionmaker(sync_session_class=Routing, expire_on_commit=False)
    await replica.dispose()


async def test_a_session_that_reads_from_a_replica_completes_its_jobs_where_it_writes(
    notes: AsyncEngine, routing: async_sessionmaker[AsyncSession]
) -> None:
    async with routing() as session, session.begin():
        await enqueue(session, misuse.new("routed"))
    async with Oban(notes, queues={"default": 5}, sessionmaker=routing):
        await eventually(lambda: noted(notes))
        assert await noted(notes) == ["routed"]
        await eventually(lambda: _all_completed(notes))


async def test_a_session_that_reads_from_a_replica_drains_its_jobs_in_its_transaction(
    notes: AsyncEngine, routing: async_sessionmaker[AsyncSession]
) -> None:
    async with routing() as session:
        session.add(misuse.new("drained"))
        assert await drain(session) == {"completed": 1}
        assert await noted(notes) == []
        await session.commit()
    assert await noted(notes) == ["drained"]
    assert await _all_completed(notes)


async def test_a_job_that_writes_to_another_database_fails_and_says_so(notes: AsyncEngine, empty_database: str) -> None:
    other = create_async_engine(empty_database)
    await execute(other, "CREATE TABLE real_notes (note text)")

    class Elsewhere(Session):
        def get_bind(self, mapper: Any = None, *, clause: Any = None, **given: Any) -> Any:
            return (notes if mapper is not None else other).sync_engine

    try:
        maker = async_sessionmaker(sync_session_class=Elsewhere, expire_on_commit=False)
        async with Oban(notes, queues={"default": 5}, sessionmaker=maker):
            [job_id] = await insert(notes, misuse.new("elsewhere"))
            assert "wrote to another database" in (await until(notes, job_id, "retryable")).errors[0]["error"]
        assert await noted(other) == []
    finally:
        await other.dispose()


async def test_a_job_does_not_see_what_another_one_set_nor_the_request_that_started_its_queue(
    engine: AsyncEngine,
) -> None:
    async with Oban(engine, queues={"default": Queue(limit=1, prefetch=20)}) as oban:
        await finished(engine, await insert(engine, *(tell_context.new() for _ in range(20))))
        tenant.set("of a request")
        await oban.start_queue("late", limit=1)
        await finished(engine, await insert(engine, tell_context.options(queue="late").new()))
    assert set(seen) == {"none"}


async def test_a_job_may_stop_its_node(engine: AsyncEngine) -> None:
    oban = Oban(engine, queues={"default": 5}, shutdown_grace=5)
    await oban.start()
    running.append(oban)
    [job_id] = await insert(engine, stop_it.new())
    await eventually(lambda: seen == [[]])
    await oban.stop()
    assert (await load(engine, job_id)).state == "completed"
    assert oban.loops == {}


class StopsAfterwards:
    async def after(self, job: Job, state: str, error: BaseException | None) -> None:
        for oban in running:
            seen.append(await oban.stop())


async def test_a_hook_may_stop_its_node_when_its_job_has_ended(engine: AsyncEngine) -> None:
    oban = Oban(engine, queues={"default": 5}, shutdown_grace=60, hooks=[StopsAfterwards()])
    await oban.start()
    running.append(oban)
    [job_id] = await insert(engine, tell_context.new())
    await eventually(lambda: [] in seen)
    await oban.stop()
    assert (await load(engine, job_id)).state == "completed"


async def test_a_stop_whose_caller_is_cancelled_goes_on_and_a_second_one_waits_for_it(engine: AsyncEngine) -> None:
    oban = Oban(engine, queues={"default": 5}, shutdown_grace=0.5)
    await oban.start()
    [job_id] = await insert(engine, hold.new())
    await eventually(lambda: seen == ["began"])
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(oban.stop(), 0.05)
    assert await oban.stop() == []
    assert (await load(engine, job_id)).state == "available"
    [[connections]] = await execute(
        engine, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    assert connections <= 3  # the pool's own; none of the node's


async def test_two_starts_at_once_make_one_runtime(engine: AsyncEngine) -> None:
    oban = Oban(engine)
    first, second = await asyncio.gather(oban.start(), oban.start(), return_exceptions=True)
    assert first is None
    assert isinstance(second, ObanError)
    await oban.stop()


async def test_a_stop_ends_a_start_that_is_under_way(engine: AsyncEngine) -> None:
    oban = Oban(engine)
    starting = asyncio.create_task(oban.start())
    await asyncio.sleep(0)
    await oban.stop()
    assert isinstance((await asyncio.gather(starting, return_exceptions=True))[0], BaseException)
    assert oban.loops == {}


async def test_a_job_that_was_given_back_by_a_deploy_is_not_too_late(engine: AsyncEngine) -> None:
    async with Oban(engine, queues={"default": 5}, shutdown_grace=0):
        [job_id] = await insert(engine, hold.new())
        await eventually(lambda: seen == ["began"])
    assert (await load(engine, job_id)).state == "available"
    await execute(engine, "UPDATE oban_jobs SET scheduled_at = scheduled_at - interval '1 hour'")
    gate.set()
    async with Oban(engine, queues={"default": 5}):
        await until(engine, job_id, "completed")


async def test_of_two_acks_of_one_job_the_one_of_the_present_run_counts(engine: AsyncEngine) -> None:
    from oban_sqla.runtime.row import Row, row_of
    from oban_sqla.statements.fetch import fetch

    [job_id] = await insert(engine, tell_context.new())
    rows: list[Row] = []
    given: dict[str, Any] = {"queue": "default", "limit": 1, "attempted_by": ["node", "key"], "unknown": []}
    async with engine.connect() as connection:
        for _ in range(2):
            await execute(engine, "UPDATE oban_jobs SET state = 'available'")
            fetched = await connection.run_sync(lambda sync: fetch.execute(sync, **given).all())
            await connection.commit()
            rows += [row_of(*values, "default", ["node", "key"]) for values in fetched]
        stale, present = (given_back(row) for row in rows)
        present.state, present.burned = "completed", True
        both = parameters(acknowledge, [present, stale])
        await connection.run_sync(lambda sync: acknowledge.execute(sync, **both).all())
        await connection.commit()
    assert (await load(engine, job_id)).state == "completed"


@pytest.mark.parametrize(
    "payload",
    [
        json.dumps({"foreign": True, "action": "stop", "queue": "*"}),
        json.dumps({"foreign": True, "action": "start", "queue": "made", "limit": 1}),
        "[" * 3000 + "]" * 3000,
        "{" + '"a":{' * 1000 + "}" * 1001,
    ],
)
async def test_a_notification_alone_changes_nothing(engine: AsyncEngine, payload: str) -> None:
    async with Oban(engine, queues={"default": 5}) as oban:
        for _ in range(3):
            await execute(engine, "SELECT pg_notify('public.oban_signal', :payload)", payload=payload)
        await finished(engine, await insert(engine, tell_context.new()))
        await oban.pause_queue("default")  # control still works
        await eventually(lambda: (info := oban.check_queue("default")) is not None and info.paused)
        assert [info.queue for info in oban.check_queues()] == ["default"]
        assert await execute(engine, "SELECT queue FROM oban_queues WHERE queue <> 'default'") == []


async def test_a_connection_that_has_become_useless_is_replaced(migrated_database: str) -> None:
    """As after a failover that leaves the old server read-only: it answers, and refuses every write."""
    engine = create_async_engine(migrated_database)
    away = make_url(migrated_database).set(database="postgres")
    admin = create_async_engine(away, isolation_level="AUTOCOMMIT")
    database = engine.url.database
    try:
        async with Oban(engine, queues={"default": 5}, poll_interval=0.1):
            await finished(engine, await insert(engine, tell_context.new()))
            await execute(admin, f'ALTER DATABASE "{database}" SET default_transaction_read_only = on')
            cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
            await execute(admin, cut, name=database)
            # The node connects again, to a server that refuses every write.
            node = "SELECT count(*) FROM pg_stat_activity WHERE datname = :name"
            await eventually(lambda: _count(admin, node, database), timeout=20)
            await execute(admin, f'ALTER DATABASE "{database}" RESET default_transaction_read_only')
            await engine.dispose()
            ids = await insert(engine, *(tell_context.new() for _ in range(5)))
            await finished(engine, ids, timeout=30)
    finally:
        await admin.dispose()
        await engine.dispose()


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_jobs_run_on_tables_that_were_made_anew_or_altered(migrated_database: str, driver: str) -> None:
    """The statements that a connection has prepared find no table of theirs any more, or return other columns."""
    engine = create_async_engine(make_url(migrated_database).set(drivername=f"postgresql+{driver}"))
    owner = create_async_engine(migrated_database, poolclass=NullPool)
    try:
        async with Oban(engine, queues={"default": 5}, poll_interval=0.1) as oban:
            for _ in range(6):  # psycopg prepares what it has executed five times
                await finished(owner, await insert(owner, tell_context.new()))
            async with owner.begin() as connection:
                await connection.run_sync(_make_anew)
            await _all_run_once(owner)
            await execute(owner, "ALTER TABLE oban_jobs ALTER COLUMN max_attempts TYPE bigint")
            await _all_run_once(owner)
            await eventually(lambda: _is_well(oban))
    finally:
        await owner.dispose()
        await engine.dispose()


def _make_anew(connection: Connection) -> None:
    op = Operations(MigrationContext.configure(connection))
    migrations.downgrade(op, version=0)
    migrations.upgrade(op)


async def _all_run_once(engine: AsyncEngine) -> None:
    ids = await insert(engine, *(tell_context.new() for _ in range(5)))
    await finished(engine, ids, timeout=30)
    assert {(await load(engine, id)).attempt for id in ids} == {1}


async def _is_well(oban: Oban) -> bool:
    return (await oban.health()).ok


async def _count(engine: AsyncEngine, sql: str, name: str | None) -> int:
    [[count]] = await execute(engine, sql, name=name)
    return int(count)


async def _all_completed(engine: AsyncEngine) -> bool:
    [[left]] = await execute(engine, "SELECT count(*) FROM oban_jobs WHERE state <> 'completed'")
    return int(left) == 0
