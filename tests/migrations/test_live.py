"""The upgrade of tables that are in use: nothing waits for it, and it ends whatever was left behind before."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from oban_sqla import Oban, SchemaOutdated, migrations
from oban_sqla.migrations.statements import indexes_of
from tests.migrations.catalog import described
from tests.migrations.conftest import Project
from tests.migrations.test_alembic import psycopg
from tests.support import eventually

ROWS = 200_000
FILL = f"""
INSERT INTO oban_jobs (worker, queue, state, completed_at)
SELECT 'w', 'queue-' || i % 7, 'completed', timezone('UTC', now()) FROM generate_series(1, {ROWS}) i
"""
# What a program of the version before does all the time.
INSERT = "INSERT INTO oban_jobs (worker, queue) VALUES ('w', 'busy')"
FETCH = """
UPDATE oban_jobs SET state = 'executing', attempt = attempt + 1 WHERE id = ANY (ARRAY(
  SELECT id FROM oban_jobs WHERE state = 'available' AND queue = 'busy'
   ORDER BY priority, scheduled_at, id LIMIT 10 FOR UPDATE SKIP LOCKED)) RETURNING id"""
ACK = "UPDATE oban_jobs SET state = 'completed' WHERE id = ANY ($1) AND state::text = 'executing'"
SLEEPS = "wait_event = 'PgSleep' AND datname = current_database()"

STALL = 3.0
"""Seconds for which a reader keeps its lock."""
PATIENCE = 2.0
"""Seconds that a statement may take on a busy machine. It waits for a lock for 50 ms at most."""


def plain(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


@pytest.fixture
async def old(empty_database: str) -> AsyncIterator[AsyncEngine]:
    """Tables of version 1 with many jobs."""
    engine = create_async_engine(empty_database)
    await migrations.migrate(engine, version=1)
    async with engine.begin() as connection:
        await connection.execute(text(FILL))
    yield engine
    await engine.dispose()


@asynccontextmanager
async def traffic(url: str) -> AsyncGenerator[Callable[[], float]]:
    """Programs that insert, fetch and acknowledge. Gives the slowest statement so far, in seconds."""
    slowest = 0.0
    done = False

    async def timed(work: Coroutine[Any, Any, Any]) -> Any:
        nonlocal slowest
        began = time.perf_counter()
        result = await work
        slowest = max(slowest, time.perf_counter() - began)
        return result

    async def inserts() -> None:
        async with connected(url) as connection:
            while not done:
                await timed(connection.execute(INSERT))

    async def works() -> None:
        async with connected(url) as connection:
            while not done:
                rows = await timed(connection.fetch(FETCH))
                await timed(connection.execute(ACK, [row["id"] for row in rows]))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(2):
            tasks.create_task(inserts())
            tasks.create_task(works())
        await asyncio.sleep(0.2)
        slowest = 0.0
        yield lambda: slowest
        done = True


@asynccontextmanager
async def connected(url: str) -> AsyncGenerator[asyncpg.Connection]:
    connection = await asyncpg.connect(plain(url))
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def reader(url: str, seconds: float) -> AsyncGenerator[None]:
    """A transaction beside the body that has read the jobs, and holds their lock for `seconds`."""
    taken = asyncio.Event()

    async def reads() -> None:
        async with connected(url) as connection, connection.transaction():
            await connection.fetch("SELECT FROM oban_jobs LIMIT 1")
            taken.set()
            await asyncio.sleep(seconds)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(reads())
        await taken.wait()
        yield


async def test_nothing_waits_for_an_upgrade_that_waits_for_a_reader(
    old: AsyncEngine, empty_database: str, database_url: str
) -> None:
    async with traffic(empty_database) as slowest, reader(empty_database, STALL):
        began = time.perf_counter()
        assert await migrations.migrate(old) == 1
        assert time.perf_counter() - began > STALL - 0.5  # it did wait
        assert slowest() < PATIENCE
    assert described(empty_database) == described(database_url)
    assert await migrations.missing_indexes(old) == []


async def test_a_lock_that_is_waited_for_without_a_timeout_stops_everything(
    old: AsyncEngine, empty_database: str
) -> None:
    async with traffic(empty_database) as slowest:
        async with reader(empty_database, STALL), old.begin() as connection:
            await connection.execute(text("ALTER TABLE oban_jobs ADD COLUMN chunk_key text"))
        await eventually(lambda: slowest() > STALL / 2)  # as soon as the statements that waited have ended


async def test_the_halves_upgrade_a_live_table_by_alembic(
    halves: Project, empty_database: str, database_url: str
) -> None:
    url = psycopg(empty_database)
    halves.alembic(url, "upgrade", "b")
    engine = create_async_engine(empty_database)
    async with engine.begin() as connection:
        await connection.execute(text(FILL))
    async with traffic(empty_database) as slowest:
        await asyncio.to_thread(halves.alembic, url, "upgrade", "c")
        assert sorted(await migrations.missing_indexes(engine)) == sorted(indexes_of(migrations.CURRENT))
        await asyncio.to_thread(halves.alembic, url, "upgrade", "d")
        assert slowest() < PATIENCE
        await asyncio.to_thread(halves.alembic, url, "upgrade", "head")
    assert described(empty_database) == described(database_url)
    assert "No new upgrade operations" in halves.alembic(url, "check")
    halves.alembic(url, "downgrade", "b")
    assert await migrations.version(engine) == 1
    assert "chunk_key" not in str(described(empty_database))
    halves.alembic(url, "upgrade", "head")
    assert described(empty_database) == described(database_url)
    await engine.dispose()


async def test_one_call_for_a_large_table_is_refused_and_names_the_two(
    one_revision: Project, old: AsyncEngine, empty_database: str
) -> None:
    url = psycopg(empty_database)
    with pytest.raises(AssertionError, match="InvalidOption") as refused:
        one_revision.alembic(url, "upgrade", "head")
    assert 'migrations.upgrade(op, part="tables"), then migrations.upgrade(op, part="indexes")' in str(refused.value)
    assert await migrations.version(old) == 1
    with pytest.raises(Exception, match="too large to build indexes") as raised:
        async with old.begin() as connection:
            for statement in migrations.up_statements(since=1):
                await connection.execute(text(statement.replace(":", r"\:")))
    assert "two revisions" in str(raised.value)
    await migrations.migrate(old)
    one_revision.alembic(url, "upgrade", "head")  # nothing is left to be done


async def test_indexes_before_tables_are_refused(old: AsyncEngine, halves: Project, empty_database: str) -> None:
    revision = halves.directory / "revisions" / "versions" / "c.py"
    revision.write_text(revision.read_text().replace('part="tables"', 'part="indexes"'))
    with pytest.raises(
        AssertionError,
        match=rf'SchemaOutdated.*version 1; call migrations.upgrade\(op, version={migrations.CURRENT}, part="tables"\)',
    ):
        halves.alembic(psycopg(empty_database), "upgrade", "c")


async def test_indexes_in_a_transaction_of_the_environment_are_refused(halves: Project, empty_database: str) -> None:
    environment = halves.directory / "revisions" / "env.py"
    environment.write_text(
        environment.read_text().replace("create_engine(url).connect()", "create_engine(url).begin()")
    )
    with pytest.raises(AssertionError, match=r"InvalidOption.*connect with engine.connect\(\) instead of engine.begin"):
        halves.alembic(psycopg(empty_database), "upgrade", "head")


async def test_an_invalid_index_is_found_and_made_again(
    old: AsyncEngine, empty_database: str, database_url: str
) -> None:
    async with connected(empty_database) as connection:
        for name in ("oban_jobs_suspended_index", "oban_jobs_ring_index"):
            with pytest.raises(asyncpg.UniqueViolationError):
                await connection.execute(f"CREATE UNIQUE INDEX CONCURRENTLY {name} ON oban_jobs (queue)")
    assert "oban_jobs_ring_index" in await migrations.missing_indexes(old)
    await migrations.migrate(old)
    assert await migrations.missing_indexes(old) == []
    assert described(empty_database) == described(database_url)


async def test_an_invalid_index_of_a_small_table_is_made_again_in_one_transaction(
    empty_database: str, database_url: str, halves: Project
) -> None:
    halves.alembic(psycopg(empty_database), "upgrade", "b")
    async with connected(empty_database) as connection:
        await connection.execute("INSERT INTO oban_jobs (worker) VALUES ('a'), ('b')")
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.execute("CREATE UNIQUE INDEX CONCURRENTLY oban_jobs_ring_index ON oban_jobs (queue)")
        async with connection.transaction():
            for statement in migrations.up_statements(since=1):
                await connection.execute(statement)
    assert described(empty_database) == described(database_url)


async def test_an_index_that_another_session_builds_is_not_taken_for_a_leftover(
    empty_database: str, database_url: str
) -> None:
    engine = create_async_engine(empty_database)
    await migrations.migrate(engine)
    try:
        async with (
            connected(empty_database) as holder,
            connected(empty_database) as builder,
            connected(empty_database) as observer,
        ):
            await builder.execute("DROP INDEX oban_jobs_ring_index")
            held = holder.transaction()
            await held.start()
            await holder.execute("INSERT INTO oban_jobs (worker) VALUES ('w')")  # a build waits for it
            [made] = [line for line in migrations.up_statements(part="indexes") if " oban_jobs_ring_index " in line]
            building = asyncio.create_task(builder.execute(made))

            async def is_waiting() -> bool:
                # Not in the holder's transaction, which would see the same all the time.
                return bool(await observer.fetchval("SELECT count(*) FROM pg_stat_progress_create_index"))

            await eventually(is_waiting)
            migrating = asyncio.create_task(migrations.migrate(engine))
            await asyncio.sleep(0.5)
            assert not building.done()
            await held.rollback()
            await building
            await migrating
            assert described(empty_database) == described(database_url)
    finally:
        await engine.dispose()


async def test_a_small_table_is_locked_before_its_indexes_are_built(empty_database: str, database_url: str) -> None:
    """Else who has read the jobs, and writes next, waits for the upgrade, which waits for them."""
    engine = create_async_engine(empty_database)
    await migrations.migrate(engine, version=5)
    async with connected(empty_database) as user, connected(empty_database) as observer:
        reading = user.transaction()
        await reading.start()
        await user.fetch("SELECT FROM oban_jobs")
        migrating = asyncio.create_task(migrations.migrate(engine))

        async def is_waiting() -> bool:
            return bool(await observer.fetchval(f"SELECT count(*) FROM pg_stat_activity WHERE {SLEEPS}"))

        await eventually(is_waiting)
        await user.execute(INSERT, timeout=PATIENCE)
        await reading.commit()
        assert await migrating == 5
    assert described(empty_database) == described(database_url)
    await engine.dispose()


async def test_a_replaced_index_is_dropped_when_those_that_replace_it_are_built(
    empty_database: str, database_url: str
) -> None:
    """An upgrade that ended between the two is finished by the next one."""
    engine = create_async_engine(empty_database)
    await migrations.migrate(engine, version=5)
    async with connected(empty_database) as connection:
        drop = migrations.up_statements(version=6, part="indexes")[-1]
        await connection.execute(drop)
        await migrations.migrate(engine, version=5)
        assert await connection.fetchval("SELECT to_regclass('oban_jobs_chain_held_index') IS NOT NULL")
        await migrations.migrate(engine)
        await connection.execute("CREATE INDEX oban_jobs_workflow_index ON oban_jobs (workflow_id)")
        assert await migrations.missing_indexes(engine) == []
        await migrations.migrate(engine)
    assert described(empty_database) == described(database_url)
    await engine.dispose()


async def test_a_runtime_refuses_the_version_before(old: AsyncEngine) -> None:
    needed = rf"have version 1, and version {migrations.CURRENT} is needed; run `oban-sqla migrate`"
    with pytest.raises(SchemaOutdated, match=needed):
        async with Oban(old):
            pass


async def test_roles_keep_their_rights_over_an_upgrade(empty_database: str) -> None:
    role = f"enqueues_{os.urandom(4).hex()}"
    engine = create_async_engine(empty_database)
    await migrations.migrate(engine, version=1)
    limited = await asyncpg.connect(plain(empty_database))
    try:
        async with engine.begin() as connection:
            await connection.execute(text(f"CREATE ROLE {role}"))
            await connection.execute(text(f"GRANT SELECT, INSERT ON oban_jobs TO {role}"))
        await migrations.migrate(engine)
        await limited.execute(f"SET ROLE {role}")
        await limited.fetch("SELECT * FROM oban_partitions")
        await limited.execute("INSERT INTO oban_jobs (worker) VALUES ('w')")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await limited.execute("UPDATE oban_partitions SET epoch = 0")
    finally:
        await limited.close()
        async with engine.begin() as connection:
            await connection.execute(text(f"DROP OWNED BY {role}"))
            await connection.execute(text(f"DROP ROLE {role}"))
        await engine.dispose()


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_both_drivers_make_the_same_schema(empty_database: str, database_url: str, driver: str) -> None:
    engine = create_async_engine(make_url(empty_database).set(drivername=f"postgresql+{driver}"))
    await migrations.migrate(engine, version=1)
    async with engine.begin() as connection:
        await connection.execute(text(FILL))
    await migrations.migrate(engine)
    assert described(empty_database) == described(database_url)
    await migrations.migrate(engine, version=1)
    await migrations.migrate(engine, version=0)
    assert described(empty_database)["tables"] == []
    await engine.dispose()


async def test_the_index_of_what_is_suspended_is_used(empty_database: str) -> None:
    engine = create_async_engine(empty_database)
    await migrations.migrate(engine)
    async with engine.begin() as connection:
        await connection.execute(text(FILL))
        await connection.execute(text("ANALYZE oban_jobs"))
        plan = await connection.scalars(text("EXPLAIN SELECT id FROM oban_jobs WHERE state = 'suspended'"))
        assert "oban_jobs_suspended_index" in "\n".join(plan)
    await engine.dispose()
