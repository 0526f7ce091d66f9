"""A line of a job's log, on its way to where it is stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

Unmade: TypeAlias = tuple[str, str, Any, Any]
"""The level, the logger, and the message with its arguments, which can't change."""

Line: TypeAlias = tuple[int, float, Unmade | Mapping[str, Any]]
"""How many lines the run had made with this one; when, in seconds since 1970; and what is stored, which is made as late
as possible, because most lines of a busy log are never stored."""


def stored(line: Line, attempt: int) -> Mapping[str, Any]:
    """What is stored of `line`."""
    value = line[2]
    if not isinstance(value, tuple):
        return value
    level, logger, message, args = value
    return made(level, logger, merged(message, args), attempt)


def made(level: str, logger: str, message: str, attempt: int) -> Mapping[str, Any]:
    """A line as it is stored."""
    return {"level": level, "logger": logger, "message": message, "attempt": attempt}


def merged(message: Any, args: Any) -> str:
    """The text of a record."""
    try:
        return str(message) % args if args else str(message)
    except Exception as error:  # the program's handlers say so, too
        return f"{message!r} (its arguments do not fit: {type(error).__name__})"
