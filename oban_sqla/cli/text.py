"""Sentences on a terminal, no wider than it is."""

from __future__ import annotations

import shutil
import textwrap

import click

WIDEST = 100


def echo_paragraph(text: str, first: str, *, mark: str = "") -> None:
    """Print `text` after `first`, its further lines indented by the length of `first`.

    Words are not cut, so that a command in the text can be copied.

    :param mark: text with colours that replaces the first characters of `first`. Default: none.
    """
    lines = textwrap.wrap(
        text,
        width=max(min(shutil.get_terminal_size().columns, WIDEST), 40),
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    )
    paragraph = "\n".join(lines)
    click.echo(mark + paragraph[len(click.unstyle(mark)) :])
