"""Sentences on a terminal, no wider than it is."""

from __future__ import annotations

import shutil
import textwrap

import click

WIDEST = 100


def echo_paragraph(text: str, first: str, *, mark: str = "") -> None:
    """Print `text` after `first`, its further lines as far in as `first` is long.

    Words are not cut, so that a command in it can be copied.

    :param mark: with colours, stands in place of the first characters of `first`.
    """
    lines = textwrap.wrap(
        text,
        width=max(min(shutil.get_terminal_size().columns, WIDEST), 40),
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    )
    said = "\n".join(lines)
    click.echo(mark + said[len(click.unstyle(mark)) :])
