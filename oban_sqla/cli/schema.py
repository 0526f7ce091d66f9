"""``oban-sqla migrate`` and ``oban-sqla sql``: create the tables without Alembic, or print their SQL."""

from __future__ import annotations

import asyncio

import click
from sqlalchemy.ext.asyncio import AsyncEngine

from .. import migrations
from ..errors import InvalidOption
from .database import brief_engine_for, database_option, reached, schema_option


@click.command(short_help="Create or upgrade the tables.")
@database_option
@schema_option
@click.option("--to", "version", type=int, metavar="VERSION", help="Version of the tables. Default: the newest.")
@click.option("--yes", is_flag=True, help="Don't ask before a downgrade.")
def migrate(url: str | None, schema: str | None, version: int | None, yes: bool) -> None:
    """Create the tables, or upgrade them to the newest version. It can be run again.

    \b
      oban-sqla migrate --database-url postgresql://localhost/app
      oban-sqla migrate --schema jobs      # creates the schema too
      oban-sqla migrate --to 0             # drops tables and jobs, after asking

    With Alembic, call oban_sqla.migrations.upgrade(op) in a revision instead. Nothing else changes
    the schema: neither `oban-sqla start` nor an Oban in a program.
    """
    click.echo(asyncio.run(_migrate(brief_engine_for(url), schema, version, yes)))


@click.command(short_help="Print the SQL of the tables.")
@schema_option
@click.option("--down", is_flag=True, help="Print the SQL that drops the tables.")
def sql(schema: str | None, down: bool) -> None:
    """Print the SQL that `migrate` runs, to read it, or to run it with another database role.

    \b
      oban-sqla sql --schema jobs | psql app
    """
    statements = migrations.down_statements(0, schema) if down else migrations.up_statements(None, schema)
    click.echo(";\n\n".join(statement.strip() for statement in statements) + ";")


async def _migrate(engine: AsyncEngine, schema: str | None, version: int | None, yes: bool) -> str:
    try:
        before = await reached(engine, schema)
        target = migrations.CURRENT if version is None else version
        if not 0 <= target <= migrations.CURRENT:
            raise InvalidOption(f"--to: expected a version from 0 (no tables) to {migrations.CURRENT}, got {target}")
        where = "" if schema is None else f" in the schema {schema!r}"
        if before > migrations.CURRENT:
            return f"the tables{where} have version {before}, which is newer than this package; nothing was changed"
        if target == before:
            return f"the tables{where} have version {before} already"
        if target < before:
            lost = "this drops the tables and all jobs" if target == 0 else "this drops newer columns"
            if not yes:
                click.confirm(f"downgrade{where} from version {before} to {target}: {lost}. Continue?", abort=True)
        # Another run may have been faster; the lock is taken only now, so that none waits for an answer.
        found = await migrations.migrate(engine, schema, version=target)
        if found == target:
            return f"the tables{where} have version {found} already"
        return f"the tables{where} were changed from version {found} to {target}"
    finally:
        await engine.dispose()
