"""``oban-sqla jobs``: show, add, change and follow jobs.

Belongs here: one module per kind of command, with its options and output. Does not: queries (see `insight.jobs`), and
which jobs a change applies to (see `control.changes`).
"""

from __future__ import annotations

import click

from .adding import add
from .changes import cancel, delete, retry
from .details import show
from .listing import list_
from .logs import logs
from .signalling import signal
from .watching import watch


@click.group(short_help="Show, add, change and follow jobs.")
def jobs() -> None:
    """Show, add, change and follow jobs, past and present.

    \b
      oban-sqla jobs list --state retryable --queue media
      oban-sqla jobs show 1234
      oban-sqla jobs add app.jobs.report --args '{"days": 7}'
      oban-sqla jobs retry 1234
    """


for command in (list_, show, add, cancel, retry, delete, signal, watch, logs):
    jobs.add_command(command)
