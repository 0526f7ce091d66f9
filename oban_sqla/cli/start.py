"""``oban-sqla start``: runs a worker process."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from ..errors import InvalidOption
from ..models import use_schema
from ..oban import Oban
from ..options.queue import Queue
from ..workers.cron import by_name
from . import logs
from .database import database_option, schema_option
from .engines import Given, on_objects, on_url
from .health import Address, AddressType
from .param_type import ParamType
from .process import run
from .ranges import Number, Whole
from .reload import end_with_reloader, reloading
from .settings import Place, Settings, SettingsError, queues_from, settings
from .settings import queues as queues_of
from .supervisor import supervise, supervised
from .target import load, named_targets, require_workers


class Queues(ParamType[dict[str, Queue]]):
    """``default=10,media=5``; a name without a limit has the default limit."""

    name = "NAME=LIMIT[,…]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Queue]:
        try:
            return queues_of(queues_from(str(value)), Place("--queues"))
        except InvalidOption as error:
            self.fail(str(error), param, ctx)


@click.command(short_help="Run the jobs of a module until stopped.")
@click.argument("targets", metavar="[MODULE[:ATTRIBUTE]]...", nargs=-1)
@click.option(
    "--queues", type=Queues(), help="Queues to work, each with how many jobs to run at once. Default: default=10."
)
@database_option
@schema_option
@click.option("--node", metavar="NAME", help="Name of this node. Default: host name and process id.")
@click.option(
    "--shutdown-grace",
    type=Number(min=0),
    metavar="SECONDS",
    help="How long running jobs may take to finish when the process is stopped. Default: 15.",
)
@click.option(
    "--health",
    type=AddressType(),
    help="Answer health checks over HTTP at this address: /ready, /live and, with prometheus-client, /metrics.",
)
@click.option(
    "--processes",
    type=Whole(1, 1_000),
    help="Processes of this node, which share its limits. Default: 1.",
)
@click.option("--until-empty", is_flag=True, help="Exit when the queues have no job that is due, with code 0.")
@click.option("--reload", is_flag=True, help="Start again whenever a .py file below the directory changes.")
@click.option("--log-level", type=click.Choice(logs.LEVELS), help="What to log, on stderr. Default: info.")
def start(
    targets: tuple[str, ...],
    queues: dict[str, Queue] | None,
    url: str | None,
    schema: str | None,
    node: str | None,
    shutdown_grace: float | None,
    health: Address | None,
    processes: int | None,
    until_empty: bool,
    reload: bool,
    log_level: str | None,
) -> None:
    """Import MODULE and run the jobs of its workers until SIGTERM or Ctrl-C.

    \b
    A module with @job functions; the database comes from the URL:
      oban-sqla start app.jobs --queues default=10,media=5
    Your engine or sessionmaker, or one that is asynchronous and one that is not:
      oban-sqla start app.db:Session --queues default=10
    Your Oban, with its queues and options:
      oban-sqla start app.main:oban
    The module in oban.toml, or in [tool.oban_sqla] of pyproject.toml:
      oban-sqla start

    Every option but --reload and --until-empty can be set in that file, or in the environment as
    OBAN_QUEUES, OBAN_NODE and so on. The environment overrides the file, and the command line
    overrides both. Your Oban keeps the options that it was made with: it takes none from the
    command line, and a file or environment that sets one of them to another value is an error.

    A node runs only jobs of workers that MODULE imports; it leaves other jobs to other nodes. It
    logs each job that ends, and the exceptions of those that fail, without their arguments.

    At the first signal, running jobs have the shutdown grace to finish. Those that have not
    finished by then become available to other nodes, with their attempt given back. At a second
    signal the process exits at once, and other nodes rescue its jobs.

    \b
    While you write it, starting again whenever a file changes:
      oban-sqla start app.jobs --reload
    Four processes of one node, each with a part of its limits:
      oban-sqla start app.jobs --queues default=40 --processes 4
    What waits, and no more, for a timer or a job of Kubernetes:
      oban-sqla start app.jobs --until-empty
    """
    if reload:
        if until_empty:
            raise click.UsageError("--reload starts a process again when it has ended, and --until-empty ends it")
        sys.exit(reloading([argument for argument in sys.argv[1:] if argument != "--reload"], Path.cwd()))
    end_with_reloader()
    file = settings()
    part = supervised()  # first, because the limits of a runtime depend on the share of this process
    logs.configure(log_level or file.value("log_level") or "info")
    named = named_targets(targets, file, "your @job functions, as in `oban-sqla start app.jobs`")
    count = processes or file.value("processes") or 1
    if until_empty and count > 1:
        raise click.UsageError(f"--until-empty is for one process, and there are to be {count}: add --processes 1")
    if count > 1 and part is None:
        sys.exit(supervise(sys.argv[1:], count, node or file.value("node"), health or file.value("health")))
    if schema is not None:
        use_schema(schema)
    loaded, title = load_all(named)
    if loaded and click.get_current_context().get_parameter_source("url") is _COMMANDLINE:
        raise click.UsageError(f"--database-url can't be used with {title}, which has its own database")
    own = {"queues": queues, "node": node, "shutdown_grace": shutdown_grace}
    given = {name: value for name, value in own.items() if value is not None}
    if isinstance(loaded, Oban):
        _refuse_options(loaded, title, given, file)
        oban = loaded
    else:
        options: dict[str, Any] = {"queues": {"default": Queue()}, **_options(file), **given}
        jobs = sum(queue.limit for queue in options["queues"].values())
        engine, makers = on_objects(loaded) if loaded else on_url(url, options["queues"], jobs)
        oban = Oban(engine, sessionmaker=makers, **options)
    if oban.config.queues and not loaded:
        require_workers(title)
    sys.exit(run(oban, health or file.value("health"), until_empty))


def load_all(targets: Sequence[str]) -> tuple[Oban | list[Given], str]:
    """Import all `targets`.

    :returns: the Oban, or the engines and sessionmakers, that they name; and the names for messages.
    """
    found = [(one, target) for target in targets if (one := load(target)) is not None]
    kinds: dict[bool, str] = {}
    given: list[Given] = []
    for one, target in found:
        if isinstance(one, Oban):
            if len(found) == 1:
                return one, target
            other = next(title for _, title in found if title != target)
            raise click.UsageError(f"{target} and {other}: a process can run only one of them")
        given.append(one)
        is_async = isinstance(one, AsyncEngine | async_sessionmaker)
        if is_async in kinds:
            raise click.UsageError(f"{kinds[is_async]} and {target}: a process can run only one of them")
        kinds[is_async] = target
    return given, ", ".join(title for _, title in found) or ", ".join(targets)


def _options(file: Settings) -> dict[str, Any]:
    """The options in the file and the environment, with the workers of the crontab."""
    options = {name: setting.value for name, setting in file.of_runtime().items()}
    if (crontab := file.get("crontab")) is not None:
        options["crontab"] = [entry.with_worker() for entry in crontab.value]
        try:
            by_name((), options["crontab"])
        except InvalidOption as error:
            raise SettingsError(f"{crontab.source}: {str(error).removeprefix('crontab: ')}") from error
    return options


def _refuse_options(oban: Oban, title: str, given: Iterable[str], file: Settings) -> None:
    """Refuse options that differ from those of the user's Oban.

    :raises click.UsageError: for any option of the command line.
    :raises SettingsError: for a setting with another value.
    """
    for name in given:
        option = f"--{name.replace('_', '-')}"
        raise click.UsageError(f"{option} can't be used with {title}: that Oban has its options already")
    for name, setting in file.of_runtime().items():
        if getattr(oban.config, name) != setting.value:
            raise SettingsError(
                f"{setting.source}: {title} is an Oban that was made with another value of {name}; "
                "remove the setting, or start a module"
            )


_COMMANDLINE = click.core.ParameterSource.COMMANDLINE
