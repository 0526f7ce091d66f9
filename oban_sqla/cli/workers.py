"""``oban-sqla workers``: the workers of a module."""

from __future__ import annotations

from collections.abc import Sequence

import click

from ..insight.workers import describe_all
from .output import json_option, print_json, print_table
from .settings import settings
from .target import load, named_targets, require_workers


@click.command(short_help="List the workers of a module.")
@click.argument("targets", metavar="[MODULE]...", nargs=-1)
@json_option
def workers(targets: Sequence[str], as_json: bool) -> None:
    """Import MODULE and list its workers: options, parameters, and with --json the JSON schema of the args.

    \b
      oban-sqla workers app.jobs
      oban-sqla workers app.jobs app.mail --json
      oban-sqla workers                    # the module in oban.toml

    No database is needed.
    """
    targets = named_targets(targets, settings(), "the @job functions, as in `oban-sqla workers app.jobs`")
    for target in targets:
        load(target)
    require_workers(", ".join(targets))
    found = describe_all()
    if as_json:
        print_json([
            {
                "worker": info.name,
                "aliases": list(info.aliases),
                "queue": info.queue,
                "executor": info.executor,
                "max_attempts": info.max_attempts,
                "timeout": info.timeout,
                "deadline": info.deadline,
                "cron": info.cron,
                "recorded": info.recorded,
                "args": info.schema,
            }
            for info in found
        ])  # fmt: skip
        return
    columns = ("worker", "parameters", "queue", "executor", "attempts", "timeout", "cron")
    rows = (
        (
            info.name,
            "(a class)" if info.parameters is None else info.parameters,
            info.queue,
            info.executor,
            info.max_attempts,
            info.timeout,
            info.cron,
        )
        for info in found
    )
    print_table(columns, rows, "")
