"""``oban-sqla reindex``: rebuild indexes that have become far too large."""

from __future__ import annotations

import click
from sqlalchemy.ext.asyncio import AsyncEngine

from .. import migrations
from ..insight.words import room
from .database import database_option, on_database, schema_option
from .output import json_option, print_json


@click.command(short_help="Rebuild indexes that are too large.")
@database_option
@schema_option
@click.option("--all", "every", is_flag=True, help="Rebuild all indexes of the jobs table, whatever their size.")
@json_option
def reindex(url: str | None, schema: str | None, every: bool, as_json: bool) -> None:
    """Rebuild the indexes of the jobs table that are far larger than they need to be.

    \b
      oban-sqla reindex
      oban-sqla reindex --all --json

    After a time with many jobs, indexes keep their size. This rebuilds those that `oban-sqla doctor` finds
    too large, and those that an interrupted build has left invalid. Jobs can be enqueued and run meanwhile.
    It waits for open transactions. The role has to own the tables, as for `migrate`.
    """

    async def work(engine: AsyncEngine) -> list[migrations.Rebuilt]:
        return await migrations.reindex(engine, schema, every=every)

    rebuilt = on_database(url, schema, work)
    if as_json:
        print_json([{"index": one.name, "before": one.before, "after": one.after} for one in rebuilt])
        return
    for one in rebuilt:
        click.echo(f"{one.name}: {room(one.after)}, before {room(one.before)}")
    if not rebuilt:
        click.echo("no index is too large")
