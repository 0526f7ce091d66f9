"""``oban-sqla start``: a worker process."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from ..errors import InvalidOption
from ..models import use_schema
from ..oban import Oban
from ..options.queue import Queue
from ..telemetry import logger
from ..workers.cron import by_name
from ..workers.registry import workers
from . import logs
from .database import database_option, engine_for, schema_option
from .health import Address, AddressType
from .process import run
from .settings import FILE, Place, Settings, SettingsError, queues_from, settings
from .settings import queues as queues_of
from .target import Found, TargetError, load


class Queues(click.ParamType[dict[str, Queue]]):
    """``default=10,media=5``; a name alone has the default limit."""

    name = "NAME=LIMIT[,…]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Queue]:
        try:
            return queues_of(queues_from(str(value)), Place("--queues"))
        except InvalidOption as error:
            self.fail(str(error), param, ctx)


@click.command(short_help="Run the jobs of a module until it is stopped.")
@click.argument("targets", metavar="[MODULE[:ATTRIBUTE]]...", nargs=-1)
@click.option(
    "--queues", type=Queues(), help="The queues to work, and how many jobs of each to run at once. Default: default=10."
)
@database_option
@schema_option
@click.option("--node", metavar="NAME", help="This process's name in the history. Default: its host and process id.")
@click.option(
    "--shutdown-grace",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="How long running jobs may take to end when the process is stopped. Default: 15.",
)
@click.option(
    "--health",
    type=AddressType(),
    help="Answer health checks over HTTP there: /ready, /live and, with Prometheus's client, /metrics.",
)
@click.option("--log-level", type=click.Choice(logs.LEVELS), help="Default: info.")
def start(
    targets: tuple[str, ...],
    queues: dict[str, Queue] | None,
    url: str | None,
    schema: str | None,
    node: str | None,
    shutdown_grace: float | None,
    health: Address | None,
    log_level: str | None,
) -> None:
    """Import MODULE and run the jobs of its workers until SIGTERM or Ctrl-C.

    \b
    A module whose functions carry @job; the database comes from the URL:
      oban-sqla start app.jobs --queues default=10,media=5
    An AsyncEngine or an async_sessionmaker of your own:
      oban-sqla start app.db:Session --queues default=10
    An Oban, with the queues and options that it was made with:
      oban-sqla start app.main:oban
    What oban.toml says, or [tool.oban_sqla] in pyproject.toml:
      oban-sqla start

    Every option may stand in that file, or in the environment as OBAN_QUEUES, OBAN_NODE and so
    on; the environment goes before the file, and what is given here before both. An Oban of your
    own has its options where it is made: it takes none from here, and a file or an environment
    that says something else of them is an error.

    Only workers that MODULE imports can run; jobs of others are left to other nodes. With
    --log-level debug each job that ends is logged, without its arguments.

    Stopping: the first signal lets running jobs end within the grace; what has not ended by then
    is available again for other nodes, with its attempt given back. A second signal ends at once,
    and leaves the running jobs to be rescued by other nodes.
    """
    told = settings()
    logs.configure(log_level or told.value("log_level") or "info")
    targets = targets or told.value("module") or ()
    if not targets:
        raise click.UsageError(
            "what is to run? Name the module whose functions carry @job, as in `oban-sqla start app.jobs`, "
            f'or write module = "app.jobs" in {FILE}'
        )
    if schema is not None:
        use_schema(schema)
    found, title = load_all(targets)
    if found is not None and click.get_current_context().get_parameter_source("url") is _COMMANDLINE:
        raise click.UsageError(f"--database-url can't be given with {title}, which has a database of its own")
    own = {"queues": queues, "node": node, "shutdown_grace": shutdown_grace}
    given = {name: value for name, value in own.items() if value is not None}
    if isinstance(found, Oban):
        _refuse_options(found, title, given, told)
        oban = found
    else:
        oban = _made(found, url, {"queues": {"default": Queue()}, **_options(told), **given})
    if oban.config.queues and not list(workers):
        if found is None:
            raise TargetError(f"{title} registers no worker; name the module whose functions carry @job")
        logger.warning("no worker is registered, so no job can run here; import their modules from %s", title)
    sys.exit(run(oban, health or told.value("health")))


def load_all(targets: Sequence[str]) -> tuple[Found, str]:
    """Import all `targets`.

    :returns: the object that one of them names, or None, and what messages call it.
    """
    found = [(one, target) for target in targets if (one := load(target)) is not None]
    if len(found) > 1:
        raise click.UsageError(f"{found[0][1]} and {found[1][1]}: one process runs one of them")
    return found[0] if found else (None, ", ".join(targets))


def _options(told: Settings) -> dict[str, Any]:
    """The options that the file and the environment say, with the workers of the crontab."""
    options = {name: setting.value for name, setting in told.of_runtime().items()}
    if (crontab := told.get("crontab")) is not None:
        options["crontab"] = [entry.with_worker() for entry in crontab.value]
        try:
            by_name((), options["crontab"])
        except InvalidOption as error:
            raise SettingsError(f"{crontab.source}: {str(error).removeprefix('crontab: ')}") from error
    return options


def _refuse_options(oban: Oban, title: str, given: Iterable[str], told: Settings) -> None:
    """An Oban that was made elsewhere has its options; what says the same of them is no error."""
    for name in given:
        option = f"--{name.replace('_', '-')}"
        raise click.UsageError(f"{option} can't be given with {title}: the Oban there has options of its own")
    for name, setting in told.of_runtime().items():
        if getattr(oban.config, name) != setting.value:
            raise SettingsError(
                f"{setting.source}: {title} is an Oban with options of its own, and its {name} is another; "
                "drop it here, or start a module"
            )


def _made(found: AsyncEngine | async_sessionmaker[Any] | None, url: str | None, options: dict[str, Any]) -> Oban:
    """An Oban on the engine or sessionmaker that was named, or else on the URL."""
    if isinstance(found, async_sessionmaker):
        bind = found.kw.get("bind")
        if not isinstance(bind, AsyncEngine):
            raise TargetError(f"the sessionmaker is bound to {bind!r}; expected async_sessionmaker(an AsyncEngine)")
        return Oban(bind, sessionmaker=found, **options)
    engine = engine_for(url) if found is None else found
    # Jobs may ask for a session; what they read stays readable after their commit.
    return Oban(engine, sessionmaker=async_sessionmaker(engine, expire_on_commit=False), **options)


_COMMANDLINE = click.core.ParameterSource.COMMANDLINE
