"""The errors of commands: one line on stderr that says what is wrong, without a traceback."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import asyncpg
import click
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from ..errors import ObanError, without_passwords
from ..models.notes import note_of
from ..telemetry.database_error import sqlstate_of, without_class
from .colours import are_unwanted

# SQLAlchemy 2.0 does not wrap what asyncpg raises while it connects.
OF_THE_DATABASE = (DBAPIError, asyncpg.PostgresError)
ELSEWHERE = {
    "add": "jobs add", "beat": "cron", "cancel": "jobs cancel", "dashboard": "web", "delete": "jobs delete",
    "enqueue": "jobs add", "flower": "web", "info": "queues", "init": "migrate", "inspect": "top", "list": "jobs list",
    "logs": "jobs logs", "pause": "queues pause", "purge": "jobs delete", "requeue": "jobs retry",
    "resume": "queues resume", "retry": "jobs retry", "revoke": "jobs cancel", "scale": "queues scale",
    "show": "jobs show", "status": "top", "upgrade": "migrate", "work": "start", "worker": "start",
}  # fmt: skip
"""Our commands for names that people may try: those of other queues, and those inside a group."""
EXPECTED = (ObanError, SQLAlchemyError, asyncpg.PostgresError, OSError)


class Commands(click.Group):
    """A group whose commands report expected errors in one line, with exit code 1.

    Usage errors are reported by click, with exit code 2. Unexpected errors keep their traceback: they are bugs.
    """

    def main(self, args: Sequence[str] | None = None, *more: Any, **extra: Any) -> Any:
        _open_closed_streams()
        given = [_in_utf8(one) for one in (sys.argv[1:] if args is None else args)]
        # Characters that the terminal can't show are escaped.
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
                stream.reconfigure(errors="backslashreplace")
        return super().main(given, *more, **extra)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if (ours := ELSEWHERE.get(args[0])) is not None and self.get_command(ctx, args[0]) is None:
            ctx.fail(f"No such command {args[0]!r}: it may be `oban-sqla {ours}`.")
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with _without_passwords():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        if are_unwanted():
            ctx.color = False
        with _without_passwords():
            try:
                return super().invoke(ctx)
            except BrokenPipeError:
                raise  # the reader has closed the pipe (`oban-sqla jobs list | head`): click exits silently
            except EXPECTED as error:
                raise click.ClickException(line(error)) from error


def _open_closed_streams() -> None:
    """Open stdin, stdout and stderr as ``/dev/null`` if they are closed.

    Otherwise a connection to the database, or the line to a supervisor, may get the number 2, and receive what is
    written to stderr.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # this takes the lowest free number


@contextmanager
def _without_passwords() -> Generator[None]:
    """Hide the password of a URL in a wrong place, such as `oban-sqla start postgresql://…`, in error messages."""
    try:
        yield
    except click.ClickException as error:
        vars(error)["message"] = without_passwords(error.message)  # by vars(), because type checkers take it as final
        raise


def _in_utf8(argument: str) -> str:
    """An argument, decoded as UTF-8.

    In a locale without its characters, such as C with ``PYTHONUTF8=0``, Python has kept their bytes as surrogates.
    """
    try:
        return argument.encode(errors="surrogateescape").decode()
    except UnicodeError:
        return argument


def line(error: BaseException) -> str:
    """`error` as one line."""
    if isinstance(error, OF_THE_DATABASE):
        cause: object = error.orig if isinstance(error, DBAPIError) else error
        text = f"the database says: {without_class(str(cause))}"
        if (note := note_of(sqlstate_of(error), text)) is not None:
            text += f"; {note.removeprefix('oban_sqla: ')}"
    elif isinstance(error, ObanError | ArgumentError):
        text = str(error)
    elif isinstance(error, TimeoutError):
        text = str(error) or "the database did not answer in time"
    else:
        text = f"{type(error).__name__}: {error}"
    return " ".join(text.split())
