"""``oban-sqla jobs logs``: what a job has logged."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict

import click
from sqlalchemy.ext.asyncio import AsyncEngine

from ...control.streams import LogLine, log_page
from ...errors import KeyMissing
from ...types import FINISHED
from ..database import database_option, on_database, schema_option
from ..ids import JobId
from ..ranges import Whole
from ..text import printable
from .details import MISSING
from .log_line import text_of_line

INTERVAL = 0.5
"""Seconds between two looks."""


@click.command(short_help="Show what a job has logged.")
@click.argument("id", type=JobId())
@click.option("--follow", "-f", is_flag=True, help="Print new lines as they come, until the job has finished.")
@click.option("--after", type=Whole(min=0), default=0, metavar="NUMBER", help="Only lines after this one.")
@database_option
@schema_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line, for programs.")
def logs(id: int, follow: bool, after: int, url: str | None, schema: str | None, as_json: bool) -> None:
    """Show what the job ID has logged, as far as nodes with `job_logs` have kept it.

    \b
      oban-sqla jobs logs 1234
      oban-sqla jobs logs -f 1234

    The exit code is 1 when there is no such job.
    """
    on_database(url, schema, lambda engine: _print(engine, id, follow, after, as_json))


async def _print(engine: AsyncEngine, id: int, follow: bool, after: int, as_json: bool) -> None:
    """Print the lines.

    :raises click.ClickException: when there is no such job, or the log is encrypted.
    """
    while True:
        try:
            state, lines = await log_page(engine, id, after)
        except KeyMissing as error:
            raise click.ClickException(f"the log of job {id} is encrypted: {error}") from error
        if state is None:
            raise click.ClickException(MISSING.format(id=id))
        for line in lines:
            click.echo(printable(_object(line) if as_json else text_of_line(line)))
        if lines:
            after = lines[-1].number
        elif not follow or state in FINISHED:
            return
        else:
            await asyncio.sleep(INTERVAL)


def _object(line: LogLine) -> str:
    return json.dumps(asdict(line) | {"at": line.at.isoformat()}, ensure_ascii=False)
