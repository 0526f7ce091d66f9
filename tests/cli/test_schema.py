"""``oban-sqla migrate`` and ``oban-sqla sql`` on a real database."""

from __future__ import annotations

import asyncio
import re

import asyncpg
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import make_url

from oban_sqla import migrations
from oban_sqla.cli import main

NEWEST = migrations.CURRENT


def oban_sqla(*arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(main, list(arguments), input=answer)


def execute(url: str, sql: str) -> list[asyncpg.Record]:
    """Run a script as psql does; returns the tables of ours, with their schemas."""

    async def run() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(make_url(url).set(drivername="postgresql").render_as_string(False))
        try:
            for statement in sql.split(";\n\n"):
                await connection.execute(statement)
            return await connection.fetch(
                r"SELECT schemaname, tablename FROM pg_tables WHERE tablename LIKE 'oban\_%' ORDER BY 1, 2"
            )
        finally:
            await connection.close()

    return asyncio.run(run())


def tables(url: str) -> list[str]:
    return [f"{schema}.{table}" for schema, table in execute(url, "SELECT 1")]


def test_migrate_creates_the_tables_and_may_be_run_again(empty_database: str) -> None:
    first = oban_sqla("migrate", "--database-url", empty_database)
    assert (first.exit_code, first.output) == (0, f"the tables were changed from version 0 to {NEWEST}\n")
    assert "public.oban_jobs" in tables(empty_database)
    again = oban_sqla("migrate", "--database-url", empty_database)
    assert (again.exit_code, again.output) == (0, f"the tables have version {NEWEST} already\n")


def test_migrate_creates_a_schema_too(empty_database: str) -> None:
    result = oban_sqla("migrate", "--database-url", empty_database, "--schema", "jobs")
    assert (result.exit_code, result.output) == (
        0,
        f"the tables in the schema 'jobs' were changed from version 0 to {NEWEST}\n",
    )
    assert {name.split(".")[0] for name in tables(empty_database)} == {"jobs"}


def test_going_back_asks_first(empty_database: str) -> None:
    oban_sqla("migrate", "--database-url", empty_database)
    back = ["migrate", "--database-url", empty_database, "--to", "0"]
    for answer in ("n\n", ""):
        refused = oban_sqla(*back, answer=answer)
        assert refused.exit_code == 1
        assert "this drops the tables and all jobs" in refused.output
        assert tables(empty_database)
    done = oban_sqla(*back, "--yes")
    assert (done.exit_code, done.output) == (0, f"the tables were changed from version {NEWEST} to 0\n")
    assert not tables(empty_database)


@pytest.mark.parametrize("version", ["-1", str(NEWEST + 1)])
def test_a_version_that_there_is_not_is_refused(empty_database: str, version: str) -> None:
    result = oban_sqla("migrate", "--database-url", empty_database, "--to", version)
    assert (result.exit_code, result.output) == (
        1,
        f"Error: --to: expected a version from 0 (no tables) to {NEWEST}, got {version}\n",
    )


def test_tables_of_a_newer_package_are_left_alone(empty_database: str) -> None:
    oban_sqla("migrate", "--database-url", empty_database)
    execute(empty_database, "INSERT INTO oban_schema (version) VALUES (999)")
    result = oban_sqla("migrate", "--database-url", empty_database, "--to", "0", "--yes")
    assert "have version 999, which is newer than this package; nothing was changed" in result.output
    assert tables(empty_database)


def test_a_database_that_does_not_answer_is_one_line() -> None:
    result = oban_sqla("migrate", "--database-url", "postgresql://someone:secret@127.0.0.1:1/nothing")
    assert result.exit_code == 1
    assert re.fullmatch(r"Error: no answer from postgresql\+asyncpg://someone:\*\*\*@127\.0\.0\.1:1/nothing \(.*"
                        r"\); is the server running, and is the URL right\?\n", result.output)  # fmt: skip


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_what_the_database_refuses_is_one_line(empty_database: str, driver: str) -> None:
    url = make_url(empty_database).set(drivername=f"postgresql+{driver}", database="no_such_database")
    result = oban_sqla("migrate", "--database-url", url.render_as_string(False))
    assert result.exit_code == 1
    assert result.output.count("\n") == 1
    assert 'database "no_such_database" does not exist' in result.output
    assert "<class" not in result.output


def test_a_schema_name_that_can_t_be_quoted_is_one_line(empty_database: str) -> None:
    result = oban_sqla("migrate", "--database-url", empty_database, "--schema", 'a"b')
    assert (result.exit_code, result.output.count("\n")) == (1, 1)


@pytest.mark.parametrize("schema", [[], ["--schema", "jobs"]])
def test_the_printed_sql_is_what_migrate_runs(empty_database: str, schema: list[str]) -> None:
    up = oban_sqla("sql", *schema)
    assert up.exit_code == 0
    execute(empty_database, up.output)
    assert tables(empty_database)
    result = oban_sqla("migrate", "--database-url", empty_database, *schema)
    assert f"have version {NEWEST} already" in result.output
    execute(empty_database, oban_sqla("sql", "--down", *schema).output)
    assert not tables(empty_database)
    for option in (["--from", "1"], ["--part", "tables"]):
        refused = oban_sqla("sql", "--down", *option)
        assert (refused.exit_code, "DROP" in refused.output, "--down" in refused.output) == (2, False, True)


def test_an_index_that_is_missing_is_built_again(empty_database: str) -> None:
    oban_sqla("migrate", "--database-url", empty_database)
    execute(empty_database, "DROP INDEX oban_jobs_ring_index")
    result = oban_sqla("migrate", "--database-url", empty_database)
    assert (result.exit_code, result.output) == (0, "built these indexes of the jobs table: oban_jobs_ring_index\n")
    assert "already" in oban_sqla("migrate", "--database-url", empty_database).output


def test_the_sql_of_an_upgrade_is_printed_alone(empty_database: str) -> None:
    oban_sqla("migrate", "--database-url", empty_database, "--to", "1")
    printed = oban_sqla("sql", "--from", "1").output
    assert "CREATE TABLE IF NOT EXISTS oban_jobs" not in printed
    assert printed.index("LOCK TABLE") > printed.index("INSERT INTO oban_schema")
    halves = [oban_sqla("sql", "--from", "1", "--part", part).output for part in ("tables", "indexes")]
    assert "CONCURRENTLY" not in halves[0]
    assert printed == f"{halves[0][:-1]}\n\n{halves[1]}"
    execute(empty_database, printed)
    assert "already" in oban_sqla("migrate", "--database-url", empty_database).output
