"""Sentences on a terminal, no wider than it is."""

from __future__ import annotations

import shutil
import textwrap

import click

WIDEST = 100


def echo_paragraph(text: str, first: str, rest: str | None = None) -> None:
    """Print `text` after `first`, and its further lines after `rest`, or as far in as `first` is long.

    Words are not cut, so that a command in it can be copied.
    """
    lines = textwrap.wrap(
        text,
        width=max(min(shutil.get_terminal_size().columns, WIDEST), 40),
        initial_indent=first,
        subsequent_indent=" " * len(first) if rest is None else rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
    click.echo("\n".join(lines))
