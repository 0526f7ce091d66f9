"""The schema in a user's own chain of revisions, by the real `alembic` command."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from oban_sqla import migrations
from tests.migrations.catalog import described
from tests.migrations.conftest import Project
from tests.processes import ROOT


def psycopg(url: str) -> str:
    return make_url(url).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


@pytest.mark.parametrize("schema", ["public", "jobs"])
def test_upgrade_checks_clean_and_downgrade_leaves_nothing(project: Project, empty_database: str, schema: str) -> None:
    url = psycopg(empty_database)
    project.schema = None if schema == "public" else schema
    project.alembic(url, "upgrade", "head")
    assert ["oban_jobs", "r", "p"] in [row[:3] for row in described(url, schema)["tables"]]
    assert "No new upgrade operations" in project.alembic(url, "check")
    assert "No new upgrade operations" in project.alembic(url, "check", left_out=True)

    project.alembic(url, "downgrade", "a")
    assert [rows for rows in described(url, schema).values() if rows] == []


@pytest.mark.parametrize("schema", ["public", "My Jobs"])
async def test_printed_sql_makes_the_same_schema(
    project: Project, empty_database: str, database_url: str, schema: str
) -> None:
    url = psycopg(empty_database)
    project.schema = None if schema == "public" else schema
    for printed in (
        project.alembic(url, "upgrade", "head", "--sql"),
        project.alembic(url, "upgrade", "a:head", "--sql"),  # the second run is harmless
    ):
        await execute(empty_database, printed)
    assert described(url, schema) == described(psycopg(database_url))

    await execute(empty_database, project.alembic(url, "downgrade", "head:a", "--sql"))
    assert [rows for rows in described(url, schema).values() if rows] == []


async def execute(url: str, script: str) -> None:
    """Run a script as `psql` does, one statement after the other."""
    engine = create_async_engine(url, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        for statement in script.split(";\n\n"):
            if statement.strip():
                await driver.execute(statement)
    await engine.dispose()


def test_environment_of_this_repository_runs(empty_database: str) -> None:
    own = Project(ROOT)
    own.alembic(empty_database, "upgrade", "head")
    assert "No new upgrade operations" in own.alembic(empty_database, "check")
    own.alembic(empty_database, "downgrade", "base")
    assert described(empty_database)["tables"] == []


def test_environment_of_this_repository_is_not_a_package() -> None:
    assert not list((ROOT / "alembic").rglob("__init__.py"))


def test_a_plugin_that_compares_enum_types_can_leave_out_those_of_the_queue(sync_engine: Engine) -> None:
    with sync_engine.connect() as connection:
        there = connection.scalars(text("SELECT typname FROM pg_type WHERE typtype = 'e'")).all()
    assert there
    assert [name for name in [*there, "order_state"] if migrations.include_enum(name)] == ["order_state"]
