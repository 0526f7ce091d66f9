"""Text for a terminal: no wider than the terminal, and without characters that command it."""

from __future__ import annotations

import re
import shutil
import textwrap

import click

from ..telemetry.printable import REVERSING

WIDEST = 100

# Control characters except the end of a line and the tab, and characters that reverse the direction of writing.
_COMMANDS = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{REVERSING}]")


def printable(text: str) -> str:
    """`text` with the characters that a terminal would obey written as ``\\u001b``, which JSON can have, too."""
    return _COMMANDS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def one_line(text: str) -> str:
    """`text` made printable, on one line, for the cell of a table or a name in a sentence."""
    return printable(" ".join(text.split()))


def echo_paragraph(text: str, first: str, *, mark: str = "") -> None:
    """Print `text` after `first`. Further lines are indented by the length of `first`.

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
