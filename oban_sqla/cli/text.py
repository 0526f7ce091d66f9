"""Sentences on a terminal, no wider than it is, and names that can't command it."""

from __future__ import annotations

import re
import shutil
import textwrap

import click

from ..telemetry.printable import REVERSING

WIDEST = 100

# Control characters but the end of a line and the tab, and those that reverse the direction of writing. In the form
# that JSON has, too, because what is printed for programs goes this way.
_COMMANDS = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{REVERSING}]")


def printable(text: str) -> str:
    """`text` from a row, which any program may have written, without what a terminal would obey: ``\\u001b``."""
    return _COMMANDS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def one_line(text: str) -> str:
    """The same on one line, as the cell of a table, or a name in a sentence."""
    return printable(" ".join(text.split()))


def echo_paragraph(text: str, first: str, *, mark: str = "") -> None:
    """Print `text` after `first`, its further lines indented by the length of `first`.

    Words are not cut, so that a command in the text can be copied.

    :param mark: text with colours that replaces the first characters of `first`. Default: none.
    """
    lines = textwrap.wrap(
        printable(text),
        width=max(min(shutil.get_terminal_size().columns, WIDEST), 40),
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    )
    paragraph = "\n".join(lines)
    click.echo(mark + paragraph[len(click.unstyle(mark)) :])
