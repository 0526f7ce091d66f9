"""``oban-sqla postgres``: runs a PostgreSQL for development."""

from __future__ import annotations

import shlex
import signal
import threading
from types import FrameType

import click
from sqlalchemy import make_url

from .. import embedded
from .signals import to_stop


@click.command(short_help="Run a PostgreSQL until stopped, and print its URL.")
@click.argument("directory", required=False, type=click.Path(file_okay=False))
def postgres(directory: str | None) -> None:
    """Run a PostgreSQL until Ctrl-C or SIGTERM, and print its URL: for development, without a server.

    \b
      oban-sqla postgres data        # kept in ./data
      oban-sqla postgres             # temporary: removed at the end

    The URL is the only line on stdout, and another one at each start. In another terminal:

    \b
      export DATABASE_URL='postgresql://...'
      oban-sqla migrate

    It uses the PostgreSQL of this machine, or else that of the extra `embedded`. It listens on a Unix
    socket that only this user and root can reach, and ends with this command, even if that is killed.
    """
    stopped = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopped.set()

    for number in to_stop():
        signal.signal(number, stop)
    with embedded.start(directory) as server:
        url = make_url(server.url).set(drivername="postgresql").render_as_string(hide_password=False)
        click.echo(url)
        # In quotes, because ? and & have a meaning for a shell.
        click.echo("running until Ctrl-C; in another terminal, as long as it runs:", err=True)
        click.echo(f"  export DATABASE_URL={shlex.quote(url)}\n  oban-sqla migrate", err=True)
        while not stopped.wait(1.0):  # with a timeout, because a signal does not end a wait without one
            pass
        click.echo("stopping", err=True)
