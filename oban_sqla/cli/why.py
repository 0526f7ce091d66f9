"""``oban-sqla why``: why a job is not running, and what to do about it."""

from __future__ import annotations

import click
from sqlalchemy.ext.asyncio import AsyncEngine

from ..insight.why import Why
from ..oban import Oban
from .database import database_option, on_database, schema_option
from .ids import JobId
from .output import json_option, print_json
from .settings import explaining
from .text import echo_paragraph, printable


@click.command(short_help="Explain why a job is not running.")
@click.argument("job_id", metavar="ID", type=JobId())
@database_option
@schema_option
@json_option
def why(job_id: int, url: str | None, schema: str | None, as_json: bool) -> None:
    """Explain why the job ID is not running, or what it is doing, and what to do next.

    \b
      oban-sqla why 42
      oban-sqla why 42 --json

    The first reason is the decisive one; the others would follow it. The command looks at the job,
    its queue, the nodes and the leader. It changes nothing, and is cheap with any number of jobs.

    The exit code is 0, or 1 when there is no such job.
    """
    answer = on_database(url, schema, lambda engine: _ask(engine, job_id))
    if as_json:
        print_json(answer.as_dict())
    else:
        _print(answer)
    if answer.state is None:
        raise click.exceptions.Exit(1)


async def _ask(engine: AsyncEngine, job_id: int) -> Why:
    return await Oban(engine, **explaining()).why(job_id)


def _print(answer: Why) -> None:
    if answer.state is None:
        click.echo(f"job {answer.id}")
    else:
        click.echo(
            printable(f"job {answer.id} ({answer.worker}) of queue {answer.queue} is ")
            + click.style(answer.state, bold=True)
        )
    for reason in answer.reasons:
        echo_paragraph(reason.text, "  ")
        if reason.advice:
            echo_paragraph(reason.advice, "    -> ")
