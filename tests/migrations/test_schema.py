"""The schema in the database: made once, by anybody, beside and on top of others' tables."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from oban_sqla import InvalidOption, Job, JobSpec, Oban, Unique, migrations, use_schema
from oban_sqla.migrations.outside import LOCK
from oban_sqla.migrations.statements import down_statements
from oban_sqla.models import metadata
from tests.migrations.catalog import described
from tests.support import eventually

# The tables as oban-py 0.7 has them, before this package comes.
OBAN_PY = """
CREATE TYPE oban_job_state AS ENUM (
    'available', 'scheduled', 'suspended', 'executing', 'retryable', 'completed', 'discarded', 'cancelled'
);
CREATE TABLE oban_jobs (
    id           bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    state        oban_job_state NOT NULL DEFAULT 'available',
    queue        text NOT NULL DEFAULT 'default',
    worker       text NOT NULL,
    attempt      smallint NOT NULL DEFAULT 0,
    max_attempts smallint NOT NULL DEFAULT 20,
    priority     smallint NOT NULL DEFAULT 0,
    args         jsonb NOT NULL DEFAULT '{}',
    meta         jsonb NOT NULL DEFAULT '{}',
    tags         text[] NOT NULL DEFAULT ARRAY[]::text[],
    errors       jsonb NOT NULL DEFAULT '[]',
    attempted_by text[] NOT NULL DEFAULT ARRAY[]::text[],
    inserted_at  timestamp NOT NULL DEFAULT timezone('UTC', now()),
    scheduled_at timestamp NOT NULL DEFAULT timezone('UTC', now()),
    attempted_at timestamp,
    cancelled_at timestamp,
    completed_at timestamp,
    discarded_at timestamp,
    CONSTRAINT attempt_range CHECK (attempt >= 0 AND attempt <= max_attempts),
    CONSTRAINT queue_length CHECK (char_length(queue) > 0),
    CONSTRAINT worker_length CHECK (char_length(worker) > 0),
    CONSTRAINT positive_max_attempts CHECK (max_attempts > 0),
    CONSTRAINT non_negative_priority CHECK (priority >= 0)
);
CREATE UNLOGGED TABLE oban_leaders (
    name       text PRIMARY KEY DEFAULT 'oban',
    node       text NOT NULL,
    elected_at timestamp NOT NULL,
    expires_at timestamp NOT NULL
);
CREATE UNLOGGED TABLE oban_producers (
    uuid       uuid PRIMARY KEY,
    name       text NOT NULL DEFAULT 'oban',
    node       text NOT NULL,
    queue      text NOT NULL,
    meta       jsonb NOT NULL DEFAULT '{}',
    started_at timestamp NOT NULL DEFAULT timezone('UTC', now()),
    updated_at timestamp NOT NULL DEFAULT timezone('UTC', now())
);
CREATE INDEX oban_jobs_state_queue_priority_scheduled_at_id_index
    ON oban_jobs (state, queue, priority, scheduled_at, id) WITH (fillfactor = 90);
CREATE INDEX oban_jobs_staging_index ON oban_jobs (scheduled_at, id) WHERE state IN ('scheduled', 'retryable');
CREATE INDEX oban_jobs_meta_index ON oban_jobs USING gin (meta);
CREATE INDEX oban_jobs_completed_at_index ON oban_jobs (completed_at) WHERE state = 'completed';
CREATE INDEX oban_jobs_cancelled_at_index ON oban_jobs (cancelled_at) WHERE state = 'cancelled';
CREATE INDEX oban_jobs_discarded_at_index ON oban_jobs (discarded_at) WHERE state = 'discarded';
ALTER TABLE oban_jobs SET (autovacuum_vacuum_scale_factor = 0.02, fillfactor = 85);
COMMENT ON TABLE oban_jobs IS '1';
"""
THEIR_INSERT = text("INSERT INTO oban_jobs (worker, args, tags) VALUES ('their.Worker', '{\"id\": 1}', '{a}')")


@pytest.fixture
async def empty(empty_database: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(empty_database)
    yield engine
    await engine.dispose()


async def run(engine: AsyncEngine, *statements: str) -> None:
    async with engine.begin() as connection:
        for statement in statements:
            await connection.execute(text(statement.replace(":", r"\:")))


async def test_second_run_changes_nothing_and_keeps_the_jobs(empty: AsyncEngine, empty_database: str) -> None:
    assert await migrations.version(empty) == 0
    assert await migrations.migrate(empty) == 0
    assert await migrations.version(empty) == migrations.CURRENT
    before = described(empty_database)
    async with AsyncSession(empty) as session:
        session.add(JobSpec("kept"))
        await session.commit()
    assert await migrations.migrate(empty) == migrations.CURRENT
    await run(empty, *migrations.up_statements())
    assert described(empty_database) == before
    async with AsyncSession(empty) as session:
        assert (await session.get_one(Job, 1)).worker == "kept"


async def test_a_type_from_before_there_was_suspended_is_adopted_in_one_transaction(
    empty: AsyncEngine, empty_database: str, database_url: str
) -> None:
    await run(empty, *OBAN_PY.replace("'suspended', ", "").split(";\n"))
    assert await migrations.migrate(empty) == 0
    assert described(empty_database) == described(database_url)


async def test_each_version_is_taken_back_to_the_one_before(empty: AsyncEngine, empty_database: str) -> None:
    async def at(version: int) -> dict[str, list[object]]:
        await migrations.migrate(empty, version=version)
        return described(empty_database)

    before = [await at(version) for version in range(1, migrations.CURRENT)]
    await migrations.migrate(empty)
    for version in range(migrations.CURRENT - 1, 0, -1):
        assert await at(version) == before[version - 1]


async def test_concurrent_runs_make_one_schema(empty: AsyncEngine, empty_database: str, database_url: str) -> None:
    engines = [create_async_engine(empty_database) for _ in range(6)]
    before = await asyncio.gather(*(migrations.migrate(engine) for engine in engines))
    assert sorted(before) == [0] + [migrations.CURRENT] * 5
    assert described(empty_database) == described(database_url)
    for engine in engines:
        await engine.dispose()


async def test_concurrent_runs_down_are_made_one_after_another(empty: AsyncEngine, empty_database: str) -> None:
    nothing = described(empty_database)
    await migrations.migrate(empty)
    engines = [create_async_engine(empty_database) for _ in range(4)]
    before = await asyncio.gather(*(migrations.migrate(engine, version=0) for engine in engines))
    assert sorted(before) == [0] * 3 + [migrations.CURRENT]
    assert described(empty_database) == nothing
    for engine in engines:
        await engine.dispose()


@pytest.mark.parametrize("version", [None, 0])
async def test_a_run_waits_for_another_one_in_either_direction(empty: AsyncEngine, version: int | None) -> None:
    await migrations.migrate(empty, version=migrations.CURRENT if version == 0 else 0)
    async with empty.begin() as other:
        await other.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
        run = asyncio.create_task(migrations.migrate(empty, version=version))

        async def is_waiting() -> bool:
            found = await other.scalar(
                text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
            )
            return found == 1

        await eventually(is_waiting)
        assert not run.done()
    await run
    assert await migrations.version(empty) == (migrations.CURRENT if version is None else version)


async def test_a_version_that_there_is_not_and_newer_tables_are_left_alone(empty: AsyncEngine) -> None:
    for version in (-1, migrations.CURRENT + 1):
        with pytest.raises(InvalidOption, match=r"expected 0 \(no tables\) to"):
            await migrations.migrate(empty, version=version)
    await migrations.migrate(empty)
    await run(empty, "INSERT INTO oban_schema (version) VALUES (999)")
    assert await migrations.migrate(empty, version=0) == 999
    assert await migrations.version(empty) == 999


async def test_what_is_neither_an_engine_nor_alembics_op_is_refused(sync_engine: Engine) -> None:
    given: Any
    for given in ("postgresql://u:secret@h/d", sync_engine):
        for call in (migrations.migrate, migrations.version, migrations.missing_indexes):
            with pytest.raises(
                InvalidOption, match=rf"{call.__name__}: expected an AsyncEngine, got (str|Engine); make"
            ):
                await call(given)
        with pytest.raises(InvalidOption, match=r"upgrade: expected alembic\.op, .* await migrations.migrate"):
            migrations.upgrade(given)
        with pytest.raises(InvalidOption, match="downgrade: expected alembic"):
            migrations.downgrade(given, 0)
        with pytest.raises(InvalidOption, match="index_jobs: expected alembic"):
            migrations.index_jobs(given, "args.order")


async def test_downgrade_leaves_nothing_even_twice(empty: AsyncEngine, empty_database: str) -> None:
    nothing = described(empty_database)
    await migrations.migrate(empty)
    await run(empty, *down_statements(0))
    assert described(empty_database) == nothing
    assert await migrations.version(empty) == 0
    await run(empty, *down_statements(0))


async def test_tables_of_oban_py_become_ours_and_stay_theirs(
    empty: AsyncEngine, empty_database: str, database_url: str
) -> None:
    await run(empty, *(statement for statement in OBAN_PY.split(";\n") if statement.strip()))
    async with empty.begin() as connection:
        await connection.execute(THEIR_INSERT)

    await migrations.migrate(empty)

    assert described(empty_database) == described(database_url)
    async with empty.begin() as connection:
        await connection.execute(THEIR_INSERT)
        assert (await connection.scalar(text("SELECT obj_description('oban_jobs'::regclass)"))) == "1"
    async with AsyncSession(empty) as session:
        session.add_all([JobSpec("ours", unique=Unique()), again := JobSpec("ours", unique=Unique())])
        await session.commit()
        assert again.conflict
        theirs = await session.get_one(Job, 2)
        assert (theirs.worker, theirs.args, theirs.tags) == ("their.Worker", {"id": 1}, ["a"])


async def test_two_schemas_live_in_one_database(empty: AsyncEngine, empty_database: str, database_url: str) -> None:
    await migrations.migrate(empty)
    await migrations.migrate(empty, schema="other")
    assert await migrations.version(empty, schema="third") == 0
    assert described(empty_database, "other") == described(empty_database) == described(database_url)
    await run(empty, *down_statements(0, schema="other"))
    assert described(empty_database, "other")["tables"] == []
    assert described(empty_database) == described(database_url)


async def test_role_that_may_create_no_schema_can_use_one_that_is_there(empty: AsyncEngine) -> None:
    role = f"restricted_{os.urandom(4).hex()}"
    await run(empty, f"CREATE ROLE {role}", "CREATE SCHEMA jobs", f"GRANT ALL ON SCHEMA jobs TO {role}")
    restricted = create_async_engine(empty.url, connect_args={"server_settings": {"role": role}})
    try:
        assert await migrations.migrate(restricted, schema="jobs") == 0
    finally:
        await restricted.dispose()
        await run(empty, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


@pytest.mark.parametrize("version", [-1, migrations.CURRENT + 1, "1"])
def test_version_that_is_not_there_is_refused(version: object) -> None:
    message = rf"version: expected 0 \(no tables\) to {migrations.CURRENT}, got {version!r}"
    with pytest.raises(InvalidOption, match=message):
        migrations.up_statements(version)  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match=message):
        down_statements(version)  # type: ignore[arg-type]


@pytest.mark.parametrize("schema", ['a"b', "a'b", "a{b", "50%", "a\nb", "a\x1bb"])
def test_a_schema_with_a_name_that_some_statement_would_change_is_refused(schema: str) -> None:
    said = "expected the name of a schema without quotes, braces, % and control characters"
    with pytest.raises(InvalidOption, match=f"schema: {said}, got"):
        migrations.up_statements(schema=schema)
    with pytest.raises(InvalidOption, match=f"use_schema: {said}, got"):
        use_schema(schema)
    engine = create_async_engine("postgresql+asyncpg://h/d", execution_options={"schema_translate_map": {None: schema}})
    with pytest.raises(InvalidOption, match=f"schema_translate_map: {said}, got"):
        Oban(engine)


def test_a_schema_whose_name_postgresql_would_cut_is_refused() -> None:
    for name in ("x" * 64, "ü" * 32):
        with pytest.raises(InvalidOption, match="use_schema: the name of a schema has at most 63 bytes"):
            use_schema(name)


@pytest.mark.parametrize("name", ["", " ", None, 7])
def test_use_schema_wants_a_name(name: object) -> None:
    with pytest.raises(InvalidOption, match=rf"use_schema: expected the name of a schema, got {name!r}"):
        use_schema(name)  # type: ignore[arg-type]
    assert metadata.schema is None


PROGRAM = """
import asyncio, sys
from datetime import timedelta
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from oban_sqla import InvalidOption, Job, JobSpec, JobState, Producer, Unique, enqueue, metadata, migrations, use_schema

use_schema("Own Jobs")
use_schema("Own Jobs")
try:
    use_schema("others")
except InvalidOption as refusal:
    print(refusal)
assert {table.schema for table in metadata.tables.values()} == {"Own Jobs"}

async def main(url):
    engine = create_async_engine(url)
    await migrations.migrate(engine)
    assert await migrations.version(engine) == migrations.CURRENT
    async with AsyncSession(engine) as session:
        session.add_all([JobSpec("w", unique=Unique()), again := JobSpec("w", unique=Unique())])
        await session.commit()
        assert again.conflict
        await enqueue(session, JobSpec("x", schedule_in=60))
        await session.commit()
        open_jobs = Job.state.in_(["available", JobState.SCHEDULED])
        jobs = await session.scalars(select(Job).where(open_jobs).order_by(Job.id))
        print([job.worker for job in jobs])
        (await session.get_one(Job, again.id)).state = "completed"
        await session.commit()
        print(await session.scalar(select(func.count()).select_from(Job).where(Job.is_finished)))
        await session.scalars(select(Producer).where(Producer.updated_at < func.now() - timedelta(1)))
        print(await session.scalar(text("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")))
    await engine.dispose()

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_use_schema_moves_everything(empty_database: str, driver: str) -> None:
    url = make_url(empty_database).set(drivername=f"postgresql+{driver}").render_as_string(hide_password=False)
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, url],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    refusal, *lines = ran.stdout.splitlines()
    assert "use_schema('others'): this process already uses 'Own Jobs'" in refusal
    assert lines == ["['w', 'x']", "1", "0"]
