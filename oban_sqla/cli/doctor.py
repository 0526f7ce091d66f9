"""``oban-sqla doctor``: what is wrong with the database of the jobs, or soon will be."""

from __future__ import annotations

from collections import Counter

import click
from sqlalchemy.ext.asyncio import AsyncEngine

from ..insight.doctor import Finding, examine
from .database import database_option, on_database, schema_option
from .output import json_option, print_json
from .settings import settings
from .text import echo_paragraph

_COLOURS = {"ok": "green", "warning": "yellow", "problem": "red", "skipped": "cyan"}
_WIDTH = max(map(len, _COLOURS))


@click.command(short_help="Look for what slows or endangers jobs.")
@database_option
@schema_option
@click.option("--strict", is_flag=True, help="Let a warning count as a problem.")
@json_option
def doctor(url: str | None, schema: str | None, strict: bool, as_json: bool) -> None:
    """Look for what slows or endangers jobs, in the database and among the nodes.

    \b
      oban-sqla doctor
      oban-sqla doctor --strict --json      # for a pipeline

    It says for each check what it found, why that matters, and what to do: versions, settings and
    privileges; indexes, dead rows and what keeps them; leaders, nodes, and jobs that wait in vain.
    It only reads, and never a large table from end to end, so it may be run beside the busiest
    queue. What the role may not see is skipped.

    The exit code is 0, or 1 when there is a problem; with --strict also for a warning.
    """
    found = on_database(url, schema, _look)
    counts = Counter(finding.status for finding in found)
    bad = counts["problem"] > 0 or (strict and counts["warning"] > 0)
    if as_json:
        print_json({"ok": not bad, "findings": [finding.as_dict() for finding in found]})
    else:
        _print(found)
        said = (f"{counts[status]} {status}" for status in ("problem", "warning", "ok", "skipped") if counts[status])
        click.echo(", ".join(said))
    if bad:
        raise click.exceptions.Exit(1)


async def _look(engine: AsyncEngine) -> list[Finding]:
    return await examine(engine, settings().value("heartbeat"))


def _print(found: list[Finding]) -> None:
    for finding in found:
        mark = click.style(finding.status.ljust(_WIDTH), fg=_COLOURS[finding.status])
        inside = " " * (_WIDTH + 2)
        echo_paragraph(f"{finding.check.replace('_', ' ')}: {finding.found}", inside, mark=mark)
        if finding.why:
            echo_paragraph(finding.why, inside)
        if finding.advice:
            echo_paragraph(finding.advice, f"{inside}-> ")
