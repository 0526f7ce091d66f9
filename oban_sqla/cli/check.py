"""``oban-sqla check``: whether the code can run the waiting jobs."""

from __future__ import annotations

from collections.abc import Sequence

import click

from ..insight.queued import Misfit, Queued
from ..insight.queued import check as check_queued
from ..telemetry.words import counted_jobs
from .database import database_option, on_database, schema_option
from .output import json_option, print_json
from .settings import settings
from .target import load, named_targets, require_workers
from .text import echo_paragraph


@click.command(short_help="Find waiting jobs that the code can't run.")
@click.argument("targets", metavar="[MODULE]...", nargs=-1)
@database_option
@schema_option
@json_option
def check(targets: Sequence[str], url: str | None, schema: str | None, as_json: bool) -> None:
    """Import MODULE, and find waiting jobs that its workers can't run.

    \b
      oban-sqla check app.jobs             # before a deployment, with the new code
      oban-sqla check app.jobs app.mail --json
      oban-sqla check                      # the module in oban.toml

    It names workers that are unknown, because they were renamed or removed, and arguments that no
    longer fit the parameters, each with how many jobs that are and the first ids. It reads every
    waiting job once, and changes nothing.

    The exit code is 0, or 1 when there are such jobs.
    """
    targets = named_targets(targets, settings(), "the @job functions, as in `oban-sqla check app.jobs`")
    for target in targets:
        load(target)
    require_workers(", ".join(targets))
    found = on_database(url, schema, check_queued)
    if as_json:
        misfits = [misfit.as_dict() for misfit in found.misfits]
        print_json({"ok": not misfits, "jobs": found.jobs, "misfits": misfits})
    else:
        _print(found)
    if found.misfits:
        raise click.exceptions.Exit(1)


def _print(found: Queued) -> None:
    for misfit in found.misfits:
        echo_paragraph(f"{misfit.worker}: {counted_jobs(misfit.jobs)} ({_ids(misfit)}): {misfit.reason}", "  ")
    bad = sum(misfit.jobs for misfit in found.misfits)
    fine = "the one waiting job can run" if found.jobs == 1 else f"all {found.jobs:,} waiting jobs can run"
    click.echo(f"{counted_jobs(bad)} of {found.jobs:,} waiting can't run" if bad else fine)


def _ids(misfit: Misfit) -> str:
    more = ", …" if misfit.jobs > len(misfit.ids) else ""
    return f"ids {', '.join(map(str, misfit.ids))}{more}" if misfit.jobs > 1 else f"id {misfit.ids[0]}"
