"""``oban-sqla doctor``: problems of the database and the cluster, and what to do about them."""

from __future__ import annotations

from collections import Counter

import click
from sqlalchemy.ext.asyncio import AsyncEngine

from ..insight.doctor import Finding, examine
from .database import database_option, on_database, schema_option
from .output import json_option, print_json
from .settings import heartbeat
from .target import load
from .text import echo_paragraph

_COLOURS = {"ok": "green", "warning": "yellow", "problem": "red", "skipped": "cyan"}
_WIDTH = max(map(len, _COLOURS))


@click.command(short_help="Find what slows or endangers jobs.")
@click.argument("targets", metavar="[MODULE]...", nargs=-1)
@database_option
@schema_option
@click.option("--strict", is_flag=True, help="Exit with 1 for warnings, too.")
@json_option
def doctor(targets: tuple[str, ...], url: str | None, schema: str | None, strict: bool, as_json: bool) -> None:
    """Find what slows or endangers jobs, in the database and among the nodes.

    \b
      oban-sqla doctor
      oban-sqla doctor --strict --json      # for a pipeline
      oban-sqla doctor app.jobs app.models  # also what only the code tells

    For each check it prints what it found, why that matters, and what to do. It checks versions,
    settings and privileges; indexes, dead rows and what keeps them; leaders, nodes, and jobs that
    wait too long. With modules it also looks for relationships without an index, and for arguments
    that should be encrypted. It only reads, and never a large table from end to end, so it can run beside a
    busy queue. It skips what the role has no privilege to see.

    The exit code is 0, or 1 when there is a problem; with --strict also for a warning.
    """
    for target in targets:
        load(target)
    findings = on_database(url, schema, _examine)
    counts = Counter(finding.status for finding in findings)
    bad = counts["problem"] > 0 or (strict and counts["warning"] > 0)
    if as_json:
        print_json({"ok": not bad, "findings": [finding.as_dict() for finding in findings]})
    else:
        _print(findings)
        summary = (f"{counts[status]} {status}" for status in ("problem", "warning", "ok", "skipped") if counts[status])
        click.echo(", ".join(summary))
    if bad:
        raise click.exceptions.Exit(1)


async def _examine(engine: AsyncEngine) -> list[Finding]:
    return await examine(engine, heartbeat())


def _print(findings: list[Finding]) -> None:
    for finding in findings:
        mark = click.style(finding.status.ljust(_WIDTH), fg=_COLOURS[finding.status])
        inside = " " * (_WIDTH + 2)
        echo_paragraph(f"{finding.check.replace('_', ' ')}: {finding.found}", inside, mark=mark)
        if finding.why:
            echo_paragraph(finding.why, inside)
        if finding.advice:
            echo_paragraph(finding.advice, f"{inside}-> ")
