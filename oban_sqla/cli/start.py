"""``oban-sqla start``: a worker process."""

from __future__ import annotations

import sys
from typing import Any

import click
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from ..limits import Queue
from ..models import use_schema
from ..registry import workers
from ..runtime.oban import Oban
from ..telemetry import logger
from . import logs
from .database import database_option, engine_for, schema_option
from .health import Address, AddressType
from .process import run
from .target import TargetError, load


class Queues(click.ParamType[dict[str, Queue]]):
    """``default=10,media=5``; a name alone has the default limit."""

    name = "NAME=LIMIT[,…]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Queue]:
        queues: dict[str, Queue] = {}
        for part in str(value).split(","):
            name, equals, limit = (piece.strip() for piece in part.partition("="))
            if not name:
                self.fail(f"{value!r}: expected names and limits, such as default=10,media=5", param, ctx)
            if name in queues:
                self.fail(f"the queue {name!r} is named twice", param, ctx)
            if equals and not (limit.isascii() and limit.isdigit() and 1 <= int(limit) <= 10_000):
                self.fail(f"queue {name!r}: a limit is 1 to 10,000 jobs at once, got {limit!r}", param, ctx)
            queues[name] = Queue(limit=int(limit)) if equals else Queue()
        return queues


@click.command(short_help="Run the jobs of a module until it is stopped.")
@click.argument("module", metavar="MODULE[:ATTRIBUTE]")
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
@click.option("--log-level", type=click.Choice(logs.LEVELS), default="info", show_default=True)
def start(
    module: str,
    queues: dict[str, Queue] | None,
    url: str | None,
    schema: str | None,
    node: str | None,
    shutdown_grace: float | None,
    health: Address | None,
    log_level: str,
) -> None:
    """Import MODULE and run the jobs of its workers until SIGTERM or Ctrl-C.

    \b
    A module whose functions carry @job; the database comes from the URL:
      oban-sqla start app.jobs --queues default=10,media=5
    An AsyncEngine or an async_sessionmaker of your own:
      oban-sqla start app.db:Session --queues default=10
    An Oban, with the queues and options that it was made with:
      oban-sqla start app.main:oban

    Only workers that MODULE imports can run; jobs of others are left to other nodes. With
    --log-level debug each job that ends is logged, without its arguments.

    Stopping: the first signal lets running jobs end within the grace; what has not ended by then
    is available again for other nodes, with its attempt given back. A second signal ends at once,
    and leaves the running jobs to be rescued by other nodes.
    """
    logs.configure(log_level)
    if schema is not None:
        use_schema(schema)
    found = load(module)
    own = {"--queues": queues, "--node": node, "--shutdown-grace": shutdown_grace}
    options = {name[2:].replace("-", "_"): value for name, value in own.items() if value is not None}
    if found is not None and click.get_current_context().get_parameter_source("url") is _COMMANDLINE:
        raise click.UsageError(f"--database-url can't be given with {module}, which has a database of its own")
    if isinstance(found, Oban):
        if options:
            given = next(name for name, value in own.items() if value is not None)
            raise click.UsageError(f"{given} can't be given with {module}: the Oban there has options of its own")
        oban = found
    else:
        oban = _made(found, url, {"queues": {"default": Queue()}, **options})
    if oban.config.queues and not list(workers):
        if found is None:
            raise TargetError(f"{module} registers no worker; name the module whose functions carry @job")
        logger.warning("no worker is registered, so no job can run here; import their modules from %s", module)
    sys.exit(run(oban, health))


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
