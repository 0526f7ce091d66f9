"""``oban-sqla migrate`` and ``oban-sqla sql``: the tables, for those who don't use Alembic or want to read first."""

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
@click.option("--to", "version", type=int, metavar="VERSION", help="The version to reach. Default: the newest.")
@click.option("--yes", is_flag=True, help="Don't ask before going back to an older version.")
def migrate(url: str | None, schema: str | None, version: int | None, yes: bool) -> None:
    """Create the tables, or bring them to the newest version. May be run again.

    \b
      oban-sqla migrate --database-url postgresql://localhost/app
      oban-sqla migrate --schema jobs      # creates the schema too
      oban-sqla migrate --to 0             # drops tables and jobs, after asking

    With Alembic, call oban_sqla.migrations.upgrade(op) from a revision of yours instead. Nothing else
    ever changes the schema: neither `oban-sqla start` nor an Oban in a program.
    """
    click.echo(asyncio.run(_migrate(brief_engine_for(url), schema, version, yes)))


@click.command(short_help="Print the SQL of the tables.")
@schema_option
@click.option("--down", is_flag=True, help="The SQL that drops the tables again.")
def sql(schema: str | None, down: bool) -> None:
    """Print the SQL that `migrate` would run, for reading, or for a database role that you don't have.

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
            raise InvalidOption(f"--to: this package has versions 0 (none) to {migrations.CURRENT}, got {target}")
        where = "" if schema is None else f" in the schema {schema!r}"
        if before > migrations.CURRENT:
            return f"the tables{where} are of version {before}, newer than this package knows; nothing was done"
        if target == before:
            return f"the tables{where} are of version {before} already"
        if target < before:
            lost = "this drops the tables and every job in them" if target == 0 else "newer columns are dropped"
            if not yes:
                click.confirm(f"from version {before} back to {target}{where}: {lost}. Continue?", abort=True)
        # Another run may have been first since; the lock is taken only now, so that nobody waits for an answer.
        found = await migrations.migrate(engine, schema, version=target)
        if found == target:
            return f"the tables{where} are of version {found} already"
        return f"the tables{where} went from version {found} to {target}"
    finally:
        await engine.dispose()
