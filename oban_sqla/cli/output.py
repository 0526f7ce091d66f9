"""What commands print: a table for people or JSON for programs; nothing else goes to stdout."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

from ..insight.words import span
from .text import one_line, printable

F = TypeVar("F", bound=Callable[..., Any])

_COLOURS = {
    "available": "cyan",
    "executing": "green",
    "retryable": "yellow",
    "discarded": "red",
    "cancelled": "magenta",
    "paused": "yellow",
    "ok": "green",
    "warning": "yellow",
    "problem": "red",
}


def json_option(command: F) -> F:
    """``--json``, as the parameter `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(command)


def print_json(value: Any) -> None:
    """Print `value` as indented JSON; times as ISO 8601, and other values that JSON does not have as text."""
    click.echo(printable(json.dumps(value, indent=2, ensure_ascii=False, default=_plain)))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """Print `rows` under `columns`, aligned; numbers to the right, states in their colours on a terminal.

    :param empty: what is printed instead when there are no rows.
    """
    lines = [list(row) for row in rows]
    if not lines:
        click.echo(empty)
        return
    cells = [[_cell(value) for value in row] for row in lines]
    widths = [max(len(name), *(len(row[at]) for row in cells)) for at, name in enumerate(columns)]
    right = [all(isinstance(row[at], int | float | None) for row in lines) for at in range(len(columns))]
    for line in ([name.upper() for name in columns], *cells):
        padded = (
            text.rjust(width) if is_number else text.ljust(width)
            for text, width, is_number in zip(line, widths, right, strict=True)
        )
        click.echo("  ".join(_coloured(text) for text in padded).rstrip())


def ago(moment: datetime | None, now: datetime | None = None) -> str:
    """How far `moment` is from now, in words: ``5 min ago``, ``in 3 h 20 min``; empty for None.

    :param now: the present. Default: read from the clock.
    """
    if moment is None:
        return ""
    seconds = ((datetime.now(UTC) if now is None else now) - moment).total_seconds()
    length = span(abs(seconds))
    return f"{length} ago" if seconds >= 0 else f"in {length}"


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    return one_line(str(value))


def _coloured(text: str) -> str:
    colour = _COLOURS.get(text.strip())
    return click.style(text, fg=colour) if colour else text


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else str(value)
