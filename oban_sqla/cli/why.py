"""``oban-sqla why``: what keeps a job from running, and what to do about it."""

from __future__ import annotations

from typing import Any

import click
from sqlalchemy.ext.asyncio import AsyncEngine

from ..insight.why import Why
from ..oban import Oban
from .database import database_option, on_database, schema_option
from .output import json_option, print_json
from .settings import settings
from .text import echo_paragraph

_OPTIONS = ("heartbeat", "prune")
"""What the settings say of the nodes that the answer depends on."""


@click.command(short_help="Say why a job is not running.")
@click.argument("job_id", metavar="ID", type=int)
@database_option
@schema_option
@json_option
def why(job_id: int, url: str | None, schema: str | None, as_json: bool) -> None:
    """Say why the job ID is not running, or what it is doing, and the next step to take.

    \b
      oban-sqla why 42
      oban-sqla why 42 --json

    The first reason is the decisive one; those after it would come next. It looks at the job, its
    queue, the nodes and the leader, changes nothing, and is cheap beside any number of jobs.

    The exit code is 0, or 1 when there is no such job.
    """
    found = on_database(url, schema, lambda engine: _ask(engine, job_id))
    if as_json:
        print_json(found.as_dict())
    else:
        _print(found)
    if found.state is None:
        raise click.exceptions.Exit(1)


async def _ask(engine: AsyncEngine, job_id: int) -> Why:
    said = ((name, settings().value(name)) for name in _OPTIONS)
    options: dict[str, Any] = {name: value for name, value in said if value is not None}
    return await Oban(engine, **options).why(job_id)


def _print(found: Why) -> None:
    if found.state is None:
        click.echo(f"job {found.id}")
    else:
        click.echo(f"job {found.id} ({found.worker}) of queue {found.queue} is {click.style(found.state, bold=True)}")
    for reason in found.reasons:
        echo_paragraph(reason.text, "  ")
        if reason.advice:
            echo_paragraph(reason.advice, "    -> ")
