"""A line of a job's log, on its way to where it is stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

Line: TypeAlias = tuple[int, float, str, str, Any, Any]
"""How many lines the run had made with this one; when, in seconds since 1970; the level; the logger; the message and
its arguments, which can't change. They are merged as late as possible: most lines of a busy log are never stored."""


def stored(line: Line, attempt: int) -> Mapping[str, Any]:
    """What is stored of `line`."""
    _, _, level, logger, message, args = line
    return {"level": level, "logger": logger, "message": merged(message, args), "attempt": attempt}


def merged(message: Any, args: Any) -> str:
    """The text of a record."""
    try:
        return str(message) % args if args else str(message)
    except Exception as error:  # the program's handlers say so, too
        return f"{message!r} (its arguments do not fit: {type(error).__name__})"
