"""``oban-sqla top``: the queues and the running jobs, updated every few seconds."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING

import click
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from ..insight import overview
from ..options.heartbeat import Heartbeat
from ..runtime.lanes.bounded import bounded
from .database import database_option, on_database, schema_option
from .instance import instance_option
from .problems import EXPECTED, line
from .ranges import Number
from .settings import heartbeat

if TYPE_CHECKING:
    import rich.console

    from .screen import Look

PATIENCE = 10.0
"""Seconds that the database may take for one update."""
MOST_JOBS = 100
"""Most running jobs that are read; a screen has room for fewer."""


@click.command(short_help="Watch queues and running jobs.")
@click.option(
    "--interval",
    type=Number(0.1, 3600),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between two updates.",
)
@click.option("--once", is_flag=True, help="Print once, and exit.")
@database_option
@schema_option
@instance_option
def top(interval: float, once: bool, url: str | None, schema: str | None, instance: str) -> None:
    """Watch the queues, their throughput, and the longest running jobs, until Ctrl-C.

    \b
      oban-sqla top
      oban-sqla top --interval 5
      oban-sqla top --once

    JOBS/S counts the jobs that finished since the last update; at first, within the last interval.
    Unfinished jobs are counted by their indexes. If stdout is not a terminal, it prints once.
    Needs rich: pip install 'oban-sqla[cli]'
    """
    try:
        from rich.console import Console
    except ImportError as error:
        raise click.ClickException("top needs rich: pip install 'oban-sqla[cli]'") from error
    console = Console()
    screen = _Screen(console, instance, interval, heartbeat())
    try:
        on_database(url, schema, screen.once if once or not console.is_terminal else screen.watch)
    except (KeyboardInterrupt, asyncio.CancelledError):
        return  # the user has ended it


class _Screen:
    """Reads the database, and draws what it has found."""

    def __init__(self, console: rich.console.Console, instance: str, interval: float, heartbeat: Heartbeat) -> None:
        self._console = console
        self._instance = instance
        self._interval = interval
        self._heartbeat = heartbeat
        self._looked: float | None = None

    async def once(self, engine: AsyncEngine) -> None:
        """Draw once."""
        from .screen import drawn

        self._console.print(drawn(await self._look(engine)))

    async def watch(self, engine: AsyncEngine) -> None:
        """Draw again and again. When the database goes away, the screen says so, until it is back."""
        from rich.live import Live

        from .screen import drawn

        watching = asyncio.current_task()
        assert watching is not None
        # SIGTERM ends it like Ctrl-C, so that the terminal is restored.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, watching.cancel)
        look = await self._look(engine)
        with Live(drawn(look), console=self._console, screen=True, auto_refresh=False) as live:
            while True:
                await asyncio.sleep(self._interval)
                failure: str | None = None
                try:
                    look = await self._look(engine)
                except EXPECTED as error:
                    failure = line(error)
                live.update(drawn(look, failure), refresh=True)

    async def _look(self, engine: AsyncEngine) -> Look:
        look = await bounded(engine, PATIENCE, lambda connection: connection.run_sync(self._read))
        self._looked = time.monotonic()
        return look

    def _read(self, connection: Connection) -> Look:
        from .screen import Look

        since = self._interval if self._looked is None else time.monotonic() - self._looked
        return Look(
            overview.read(connection, self._instance, self._heartbeat),
            overview.rates(connection, since),
            overview.running(connection, MOST_JOBS),
            self._instance,
        )
