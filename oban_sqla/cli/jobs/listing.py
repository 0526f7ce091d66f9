"""``oban-sqla jobs list``: lists jobs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from ...insight.jobs import Filter, moment, page
from ...insight.progress import progress_of, share
from ..database import database_option, on_database, schema_option
from ..ids import JobId
from ..output import ago, json_option, print_json, print_table
from ..ranges import Whole
from .filters import filter_options

LONGEST_ERROR = 80
"""Characters of an error in a table; `--json` prints all."""


@click.command("list", short_help="List jobs, newest first.")
@filter_options
@click.option(
    "--limit",
    type=Whole(1, 10_000),
    metavar="NUMBER",
    default=20,
    show_default=True,
    help="The largest number of jobs to print.",
)
@click.option("--before", type=JobId(), metavar="ID", help="Only jobs with a lower id, for the next page.")
@database_option
@schema_option
@json_option
def list_(chosen: Filter, limit: int, before: int | None, url: str | None, schema: str | None, as_json: bool) -> None:
    """List jobs, newest first. `jobs show ID` prints the arguments, too.

    \b
      oban-sqla jobs list
      oban-sqla jobs list --state discarded --state retryable --queue media
      oban-sqla jobs list --worker app.jobs.report --args customer=7
      oban-sqla jobs list --before 1200 --limit 100 --json

    WHEN is the time at which a job entered its state; for a waiting job, when it is due.
    """

    async def load(engine: AsyncEngine) -> list[dict[str, Any]]:
        async with AsyncSession(engine) as session:
            found = await page(session, chosen, limit + 1, before)
            said = await progress_of(session, [job["id"] for job in found])
        return [job | {"progress": said.get(job["id"])} for job in found]

    jobs = on_database(url, schema, load)
    shown = jobs[:limit]
    if as_json:
        print_json([job | {"progress": job["progress"] and asdict(job["progress"])} for job in shown])
        return
    told = any(job["progress"] is not None for job in shown)
    print_table(
        ("id", "state", "queue", "worker", "attempt", "when", *(("progress",) if told else ()), "error"),
        (
            (
                job["id"], job["state"], job["queue"], job["worker"],
                f"{job['attempt']}/{job['max_attempts']}", ago(moment(job)),
                *((share(job["progress"]),) if told else ()), _short(job["error"]),
            )
            for job in shown
        ),
        "no matching jobs" if chosen or before else "there are no jobs",
    )  # fmt: skip
    if len(jobs) > limit:
        click.echo(f"there are more jobs: --before {shown[-1]['id']}", err=True)


def _short(error: str | None) -> str | None:
    return error if error is None or len(error) <= LONGEST_ERROR else f"{error[: LONGEST_ERROR - 1]}…"
