"""The ``oban-sqla`` command. One file per concern: what runs, on which database, how it ends, what it prints.

A program that starts an :class:`~oban_sqla.Oban` itself needs nothing of this package.

Belongs here: options, output and exit codes of commands; signals, logging, and importing modules by name. Does not:
what a command shows (see `insight`) or changes (see `control`): a dashboard needs both, and no command.
"""

import click

from .. import __version__
from .bench import bench
from .check import check
from .cron import cron
from .demo import demo
from .doctor import doctor
from .flows import flows
from .jobs import jobs
from .limits import limits
from .postgres import postgres
from .problems import Commands
from .queues import queues
from .reindex import reindex
from .run import run
from .schema import grants, migrate, sql
from .settings import config_option
from .start import start
from .top import top
from .web import web
from .why import why
from .workers import workers


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@config_option
@click.version_option(__version__, message="oban-sqla %(version)s")
def main() -> None:
    """Background jobs for SQLAlchemy and PostgreSQL.

    \b
    The first five minutes:
      oban-sqla demo                 # see jobs run, on a temporary PostgreSQL
      export DATABASE_URL=postgresql://localhost/app
      oban-sqla migrate              # create the tables, once
      oban-sqla start app.jobs       # import app/jobs.py and run its jobs until Ctrl-C
      oban-sqla jobs list            # list the jobs

    `oban-sqla COMMAND --help` explains each command. The database, the module and all options can
    be set in oban.toml, in pyproject.toml or in the environment; `start --help` explains how.
    """


main.add_command(demo)
main.add_command(start)
main.add_command(run)
main.add_command(migrate)
main.add_command(sql)
main.add_command(grants)
main.add_command(workers)
main.add_command(check)
main.add_command(jobs)
main.add_command(flows)
main.add_command(queues)
main.add_command(limits)
main.add_command(cron)
main.add_command(top)
main.add_command(why)
main.add_command(web)
main.add_command(doctor)
main.add_command(reindex)
main.add_command(bench)
main.add_command(postgres)

__all__ = ["main"]
