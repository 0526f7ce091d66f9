"""The tables: each damage done to real ones."""

from __future__ import annotations

import os

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from oban_sqla import migrations
from oban_sqla.insight.doctor import examine
from oban_sqla.insight.doctor.tables import TRIGGERS
from oban_sqla.models.job import INDEXES
from tests.doctor.conftest import assert_skipped, diagnose, one
from tests.runtime.helpers import execute, execute_outside

DUPLICATES = "INSERT INTO oban_jobs (worker) VALUES ('twice'), ('twice')"
FAILS = "CREATE UNIQUE INDEX CONCURRENTLY {name} ON oban_jobs (worker)"


async def test_tables_of_another_version(own_engine: AsyncEngine) -> None:
    await execute(own_engine, "INSERT INTO oban_schema (version) VALUES (999)")
    finding = await one(own_engine, "schema_version")
    assert finding.status == "warning"
    assert finding.found.startswith("the tables have version 999")
    await execute(own_engine, "TRUNCATE oban_schema")
    finding = await one(own_engine, "schema_version")
    assert finding.status == "problem"
    assert finding.found.startswith("the tables have version 0, and this package needs ")


async def test_a_missing_column(own_engine: AsyncEngine) -> None:
    await execute(own_engine, "ALTER TABLE oban_jobs DROP COLUMN chain_key CASCADE")
    [finding] = await diagnose(own_engine, "schema_version", skipped=["groups"])
    assert (finding.status, finding.found) == ("problem", "columns are missing: oban_jobs.chain_key")


async def test_a_server_that_quotes_every_name_has_the_same_indexes(own_engine: AsyncEngine) -> None:
    [[name]] = await execute(own_engine, "SELECT current_database()")
    await execute(own_engine, f'ALTER DATABASE "{name}" SET quote_all_identifiers = on')
    await own_engine.dispose()
    assert (await one(own_engine, "indexes")).status == "ok"


async def test_a_role_whose_sessions_fire_no_triggers(own_engine: AsyncEngine) -> None:
    [[name]] = await execute(own_engine, "SELECT current_database()")
    await execute(own_engine, f'ALTER DATABASE "{name}" SET session_replication_role = replica')
    await own_engine.dispose()
    finding = await one(own_engine, "triggers")
    assert finding.status == "problem"
    assert finding.found.startswith("session_replication_role is 'replica' for the role ")


@pytest.mark.parametrize("index", [str(index.name) for index in INDEXES])
async def test_a_missing_index_is_made_again_by_the_advice(own_engine: AsyncEngine, index: str) -> None:
    await execute(own_engine, f"DROP INDEX {index}")
    finding = await one(own_engine, "indexes")
    assert (finding.status, finding.found) == ("problem", f"the index {index} is missing")
    await execute_outside(own_engine, finding.advice.removeprefix("create it: "))
    assert (await one(own_engine, "indexes")).status == "ok"


@pytest.mark.parametrize(
    "definition",
    [
        "(queue, priority, id, scheduled_at) WHERE state = 'available'",
        "(queue, priority, scheduled_at, id)",
        "(queue, priority, scheduled_at, id) WHERE state IN ('available', 'scheduled')",
        "(queue, priority, scheduled_at) INCLUDE (id) WHERE state = 'available'",
    ],
)
async def test_an_index_that_is_not_as_it_was_made(own_engine: AsyncEngine, definition: str) -> None:
    await execute(own_engine, "DROP INDEX oban_jobs_fetch_index")
    await execute(own_engine, f"CREATE INDEX oban_jobs_fetch_index ON oban_jobs {definition}")
    finding = await one(own_engine, "indexes")
    assert finding.found == "the index oban_jobs_fetch_index is not as the migration made it"


@pytest.mark.parametrize("schema", [None, "jobs"])
async def test_what_an_interrupted_build_left(empty_database: str, schema: str | None) -> None:
    options = {"schema_translate_map": {None: schema}} if schema else {}
    engine = create_async_engine(
        empty_database, execution_options=options, connect_args={"server_settings": {"search_path": schema or "public"}}
    )
    try:
        await migrations.migrate(engine, schema)
        await execute(engine, DUPLICATES)
        with pytest.raises(DBAPIError):
            await execute_outside(engine, FAILS.format(name="oban_jobs_fetch_index_ccnew"))
        finding = await one(engine, "indexes")
        assert (finding.status, finding.found) == ("warning", "the index oban_jobs_fetch_index_ccnew is invalid")
        prefix = "" if schema is None else "jobs."
        assert finding.advice == f"DROP INDEX CONCURRENTLY {prefix}oban_jobs_fetch_index_ccnew"
        await execute_outside(engine, finding.advice)
        assert (await one(engine, "indexes")).status == "ok"
    finally:
        await engine.dispose()


async def test_an_index_of_ours_that_is_invalid(own_engine: AsyncEngine) -> None:
    await execute(own_engine, "DROP INDEX oban_jobs_fetch_index")
    await execute(own_engine, DUPLICATES)
    with pytest.raises(DBAPIError):
        await execute_outside(own_engine, FAILS.format(name="oban_jobs_fetch_index"))
    finding = await one(own_engine, "indexes")
    assert (finding.status, finding.found) == ("problem", "the index oban_jobs_fetch_index is invalid")
    assert finding.advice == "REINDEX INDEX CONCURRENTLY oban_jobs_fetch_index"


async def test_a_missing_primary_key_and_an_index_of_the_user(own_engine: AsyncEngine) -> None:
    await execute(own_engine, "CREATE INDEX mine ON oban_jobs USING gin (args)")
    finding = await one(own_engine, "indexes")
    assert finding.status == "ok"
    assert finding.found.endswith("; 1 more, which every write of a job has to update")
    await execute(own_engine, "ALTER TABLE oban_jobs DROP CONSTRAINT oban_jobs_pkey")
    assert (await one(own_engine, "indexes")).found == "the jobs table has no primary key"


@pytest.mark.parametrize("name", ["oban_jobs_release_unique", "oban_jobs_mark_partition"])
async def test_a_trigger_that_is_disabled_or_missing(own_engine: AsyncEngine, name: str) -> None:
    assert (await one(own_engine, "triggers")).found == f"the {len(TRIGGERS)} triggers of the migration exist"
    await execute(own_engine, f"ALTER TABLE oban_jobs DISABLE TRIGGER {name}")
    finding = await one(own_engine, "triggers")
    assert finding.found == f"the trigger {name} is disabled"
    await execute(own_engine, finding.advice)
    assert (await one(own_engine, "triggers")).status == "ok"
    await execute(own_engine, f"DROP TRIGGER {name} ON oban_jobs")
    finding = await one(own_engine, "triggers")
    assert (finding.status, finding.found) == ("problem", f"the trigger {name} is missing")


async def test_states_of_a_future_version(own_engine: AsyncEngine) -> None:
    await execute(own_engine, "ALTER TYPE oban_job_state ADD VALUE 'postponed'")
    finding = await one(own_engine, "states")
    assert (finding.status, finding.found) == ("warning", "oban_job_state has states of a future version: postponed")
    await execute(
        own_engine, "INSERT INTO oban_jobs (worker, state) SELECT 'x', 'postponed' FROM generate_series(1, 50)"
    )
    await execute(own_engine, "ANALYZE oban_jobs")
    assert (await one(own_engine, "states")).found.endswith("; by the table's statistics jobs are postponed")


async def test_settings_that_are_lost(own_engine: AsyncEngine) -> None:
    await execute(own_engine, "ALTER TABLE oban_jobs RESET (fillfactor, autovacuum_vacuum_scale_factor)")
    finding = await one(own_engine, "table_settings")
    assert finding.status == "warning"
    assert finding.found.endswith("than the migration made them: autovacuum_vacuum_scale_factor, fillfactor")
    await execute(own_engine, finding.advice)
    assert (await one(own_engine, "table_settings")).status == "ok"
    await execute(own_engine, "ALTER TABLE oban_jobs SET (autovacuum_vacuum_scale_factor = 0.001)")
    assert (await one(own_engine, "table_settings")).status == "ok"


async def test_a_table_that_is_not_vacuumed(own_engine: AsyncEngine) -> None:
    await execute(own_engine, "ALTER TABLE oban_jobs SET (autovacuum_enabled = off)")
    finding = await one(own_engine, "table_settings")
    assert (finding.status, finding.found) == ("problem", "autovacuum_enabled of the jobs table is off")


async def test_privileges_that_are_missing_are_granted_by_the_advice(
    own_engine: AsyncEngine, migrated_database: str
) -> None:
    role = f"oban_limited_{os.urandom(4).hex()}"
    limited = create_async_engine(migrated_database, connect_args={"server_settings": {"role": role}})
    await execute(own_engine, f"CREATE ROLE {role}")
    try:
        every = "SELECT, INSERT, UPDATE, DELETE"
        await execute(own_engine, f"GRANT {every} ON ALL TABLES IN SCHEMA public TO {role}")
        await execute(own_engine, f"REVOKE INSERT, UPDATE, DELETE ON oban_jobs, oban_queues FROM {role}")
        await execute(own_engine, f"GRANT pg_read_all_stats TO {role}")
        finding = await one(limited, "privileges")
        assert (finding.status, finding.found) == (
            "problem", f"the role {role} lacks privileges on oban_jobs, oban_queues"
        )  # fmt: skip
        assert "GRANT DELETE, INSERT, UPDATE ON oban_jobs" in finding.advice
        for statement in finding.advice.split("; "):
            await execute(own_engine, statement)
        assert (await one(limited, "privileges")).status == "ok"
        await execute(own_engine, f"REVOKE pg_read_all_stats FROM {role}")
        [unseen] = await diagnose(limited, "oldest_transaction", skipped=["oldest_transaction"])
        assert unseen.found.endswith(f"GRANT pg_read_all_stats TO {role}")
        await execute(own_engine, f"REVOKE ALL ON oban_producers FROM {role}")
        findings = await examine(limited)
        blind = {finding.check for finding in findings if "permission denied" in finding.found}
        assert blind == {"living_nodes", "leader", "foreign_leader", "dead_nodes", "limits", "orphans"}
        assert_skipped(findings, [*blind, "oldest_transaction"])
    finally:
        await limited.dispose()
        await execute(own_engine, f"DROP OWNED BY {role}")
        await execute(own_engine, f"DROP ROLE {role}")
