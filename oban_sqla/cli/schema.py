"""``oban-sqla migrate``, ``sql`` and ``grants``: create the tables without Alembic, or print SQL for them."""

from __future__ import annotations

import asyncio

import click
from sqlalchemy.ext.asyncio import AsyncEngine

from .. import migrations
from ..errors import InvalidOption
from ..migrations.grants import grants as privileges
from ..migrations.statements import Which, down_statements
from .database import brief_engine_for, database_option, reached, schema_option
from .ranges import Whole


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

    It may run while jobs are inserted and run: it locks the jobs table for milliseconds, and builds indexes
    CONCURRENTLY, which waits for open transactions. It also builds indexes that are missing or invalid.

    With Alembic, call oban_sqla.migrations.upgrade(op) in a revision instead. Nothing else changes
    the schema: neither `oban-sqla start` nor an Oban in a program.
    """
    click.echo(asyncio.run(_migrate(brief_engine_for(url), schema, version, yes)))


@click.command(short_help="Print the privileges that a role needs.")
@click.argument("role")
@click.option("--enqueue-only", is_flag=True, help="Only what a program needs that enqueues and runs no jobs.")
@schema_option
def grants(role: str, enqueue_only: bool, schema: str | None) -> None:
    """Print the SQL that gives ROLE the privileges of a node, and no others.

    \b
      oban-sqla grants app_worker | psql app
      oban-sqla grants app_web --enqueue-only --schema jobs | psql app

    A node reads and writes all tables. A program that only enqueues inserts and reads jobs, workflows and
    batches, and reads the partitions of queues; it can't change or delete jobs, as replace= and debounce= of
    unique jobs would. Neither needs rights to create tables: run `migrate` with the role that owns them. Run
    this again after an upgrade that adds tables.
    """
    for statement in privileges(role, schema, enqueue_only=enqueue_only):
        click.echo(f"{statement};")


@click.command(short_help="Print the SQL of the tables.")
@schema_option
@click.option("--down", is_flag=True, help="Print the SQL that drops all tables.")
@click.option(
    "--from",
    "since",
    type=Whole(0, migrations.CURRENT - 1),
    default=0,
    metavar="VERSION",
    help="The version that the tables have. Default: 0 (no tables).",
)
@click.option("--part", type=click.Choice(["tables", "indexes"]), help="Print only this part. Default: both.")
def sql(schema: str | None, down: bool, since: int, part: Which | None) -> None:
    """Print the SQL that `migrate` runs, to read it, or to run it with another database role.

    \b
      oban-sqla sql --schema jobs | psql app
      oban-sqla sql --from 1 | psql app    # upgrades tables that are in use

    Run each statement outside of a transaction, as psql does: the indexes are built CONCURRENTLY, which
    no transaction can do. `--part tables` prints only what a transaction can run.
    """
    if down and (since or part):
        raise click.UsageError("--down prints what drops all tables; it can't be used with --from or --part")
    if down:
        statements = down_statements(0, schema)
    else:
        parts: list[Which] = [part] if part else ["tables", "indexes"]
        statements = [
            statement for half in parts for statement in migrations.up_statements(None, schema, part=half, since=since)
        ]
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
        lacking = await migrations.missing_indexes(engine, schema) if target == before else []
        if target == before and not lacking:
            return f"the tables{where} have version {before} already"
        if target < before:
            lost = "this drops the tables and all jobs" if target == 0 else "this drops newer columns"
            if not yes:
                click.confirm(f"downgrade{where} from version {before} to {target}: {lost}. Continue?", abort=True)
        # The lock is taken after the question, so that no node waits for the answer. Another run may have come first.
        before = await migrations.migrate(engine, schema, version=target)
        if lacking:
            return f"built these indexes of the jobs table{where}: {', '.join(lacking)}"
        if before == target:
            return f"the tables{where} have version {before} already"
        return f"the tables{where} were changed from version {before} to {target}"
    finally:
        await engine.dispose()
