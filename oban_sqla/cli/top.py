"""``oban-sqla top``: the queues and what runs, again and again."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING

import click
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from ..insight import overview
from .database import database_option, on_database, schema_option
from .instance import instance_option
from .problems import EXPECTED, line

if TYPE_CHECKING:
    import rich.console

    from .screen import Look

PATIENCE = 10.0
"""Seconds that the database may take for one look."""
MOST_JOBS = 100
"""Running jobs that are read; a screen has room for fewer."""


@click.command(short_help="Watch queues and running jobs.")
@click.option(
    "--interval",
    type=click.FloatRange(0.1, 3600),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="From one look to the next.",
)
@click.option("--once", is_flag=True, help="Print one picture, and end.")
@database_option
@schema_option
@instance_option
def top(interval: float, once: bool, url: str | None, schema: str | None, instance: str) -> None:
    """Watch the queues, how much they get done, and the longest running jobs, until Ctrl-C.

    \b
      oban-sqla top
      oban-sqla top --interval 5
      oban-sqla top --once

    Jobs a second are those that finished since the last look; of the first picture, within the last
    interval. A look counts the unfinished jobs by their indexes. Where stdout is no terminal, one picture
    is printed. Needs rich: pip install 'oban-sqla[cli]'
    """
    try:
        from rich.console import Console
    except ImportError as error:
        raise click.ClickException("top draws with rich: pip install 'oban-sqla[cli]'") from error
    console = Console()
    screen = _Screen(console, instance, interval)
    try:
        on_database(url, schema, screen.once if once or not console.is_terminal else screen.watch)
    except (KeyboardInterrupt, asyncio.CancelledError):
        return  # that is how it is left


class _Screen:
    """Looks, and draws."""

    def __init__(self, console: rich.console.Console, instance: str, interval: float) -> None:
        self._console = console
        self._instance = instance
        self._interval = interval
        self._looked: float | None = None

    async def once(self, engine: AsyncEngine) -> None:
        """Draw one picture."""
        from .screen import picture

        self._console.print(picture(await self._look(engine)))

    async def watch(self, engine: AsyncEngine) -> None:
        """Draw one after the other. A database that goes away is told, and waited for."""
        from rich.live import Live

        from .screen import picture

        watching = asyncio.current_task()
        assert watching is not None
        # As with Ctrl-C, the terminal is to be given back as it was.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, watching.cancel)
        look = await self._look(engine)
        with Live(picture(look), console=self._console, screen=True, auto_refresh=False) as live:
            while True:
                await asyncio.sleep(self._interval)
                failure: str | None = None
                try:
                    look = await self._look(engine)
                except EXPECTED as error:
                    failure = line(error)
                live.update(picture(look, failure), refresh=True)

    async def _look(self, engine: AsyncEngine) -> Look:
        async with asyncio.timeout(PATIENCE), engine.connect() as connection:
            look = await connection.run_sync(self._read)
        self._looked = time.monotonic()
        return look

    def _read(self, connection: Connection) -> Look:
        from .screen import Look

        since = self._interval if self._looked is None else time.monotonic() - self._looked
        return Look(
            overview.read(connection, self._instance),
            overview.rates(connection, since),
            overview.running(connection, MOST_JOBS),
            self._instance,
        )
