"""``oban-sqla jobs list``: what jobs there are."""

from __future__ import annotations

from typing import Any

import click
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from ...models.job import jobs
from ..database import database_option, on_database, schema_option
from ..output import ago, json_option, print_json, print_table
from . import rows
from .filters import Filter, JobId, filter_options

LONGEST_ERROR = 80
"""Characters of an error in a column; `--json` has all of them."""


@click.command("list", short_help="List jobs, the newest first.")
@filter_options
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    metavar="NUMBER",
    default=20,
    show_default=True,
    help="As many at the most.",
)
@click.option("--before", type=JobId(), metavar="ID", help="Only older ones than this, for the next page.")
@database_option
@schema_option
@json_option
def list_(chosen: Filter, limit: int, before: int | None, url: str | None, schema: str | None, as_json: bool) -> None:
    """List jobs, the newest first. Arguments are not shown here: `jobs show ID` has them.

    \b
      oban-sqla jobs list
      oban-sqla jobs list --state discarded --state retryable --queue media
      oban-sqla jobs list --worker app.jobs.report --args customer=7
      oban-sqla jobs list --before 1200 --limit 100 --json

    WHEN is the time since when a job is in its state or, for one that waits, when it is due.
    """
    wanted = rows.rows().where(*chosen.conditions).order_by(jobs.c.id.desc())
    if before is not None:
        wanted = wanted.where(jobs.c.id < before)

    async def load(engine: AsyncEngine) -> list[dict[str, Any]]:
        async with AsyncSession(engine) as session:
            return await rows.loaded(session, wanted.limit(limit + 1))

    found = on_database(url, schema, load)
    page = found[:limit]
    if as_json:
        print_json(page)
        return
    print_table(
        ("id", "state", "queue", "worker", "attempt", "when", "error"),
        (
            (
                row["id"], row["state"], row["queue"], row["worker"],
                f"{row['attempt']}/{row['max_attempts']}", ago(rows.when(row)), _short(row["error"]),
            )
            for row in page
        ),
        "no such job" if chosen or before else "there are no jobs",
    )  # fmt: skip
    if len(found) > limit:
        click.echo(f"there are more: --before {page[-1]['id']}", err=True)


def _short(error: str | None) -> str | None:
    return error if error is None or len(error) <= LONGEST_ERROR else f"{error[: LONGEST_ERROR - 1]}…"
