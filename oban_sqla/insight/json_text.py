"""JSON as other programs have written it: its numbers as they are, and no deeper than Python can follow."""

from __future__ import annotations

import json
import math
import re
from typing import Any, cast

DEEPEST = 60
"""Levels of arrays and objects that are read; what is deeper is shown as text."""

_MARKS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)


class Exact(str):
    """A number as the database wrote it: as Python's or JavaScript's it could be another one."""

    __slots__ = ()


def parsed(text: str) -> Any:
    """The value of JSON, with its numbers as :class:`Exact`.

    :raises ValueError: for text that is not JSON, and for what is nested too deeply.
    """
    check_depth(text)
    return json.loads(text, parse_float=Exact, parse_int=Exact)


def as_object(value: object) -> dict[str, Any]:
    """`value`, if it is an object of JSON, else an empty one: other programs write what they like."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def json_or_text(text: str) -> Any:
    """The value of JSON as the database can store it, or else `text` itself: what a person types for a value."""
    try:
        check_depth(text)
        return json.loads(text, parse_constant=_refused, parse_float=_finite)
    except ValueError:
        return text


def check_depth(text: str) -> None:
    """Refuse JSON that is nested too deeply to be read.

    :raises ValueError: for JSON of more than :data:`DEEPEST` levels.
    """
    depth = 0
    for found in _MARKS.finditer(text):
        mark = found[0]
        if mark in "[{":
            depth += 1
            if depth > DEEPEST:
                raise ValueError(f"it has more than {DEEPEST} levels of arrays and objects")
        elif mark in "]}":
            depth -= 1


def written(value: object, depth: int = 0) -> str:
    """JSON in lines, with the numbers that :func:`parsed` has read as they were."""
    inside, end = "  " * (depth + 1), "  " * depth
    match value:
        case dict() if value:
            pairs = cast("dict[object, object]", value).items()
            lines = [f"{inside}{_text(str(key))}: {written(one, depth + 1)}" for key, one in pairs]
            return "{\n" + ",\n".join(lines) + f"\n{end}}}"
        case list() if value:
            lines = [inside + written(one, depth + 1) for one in cast("list[object]", value)]
            return "[\n" + ",\n".join(lines) + f"\n{end}]"
        case Exact():
            return str(value)
        case _:
            return _text(value)


def _refused(constant: str) -> Any:
    raise ValueError(constant)


def _finite(text: str) -> float:
    if not math.isfinite(made := float(text)):
        raise ValueError(text)
    return made


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
