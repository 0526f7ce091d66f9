"""JSON that other programs have written: its numbers are kept exactly, and its depth is limited."""

from __future__ import annotations

import json
import math
import re
from typing import Any, cast

DEEPEST = 60
"""Most levels of arrays and objects that are read; deeper JSON is shown as text."""

_MARKS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)


class Exact(str):
    """A number as the database wrote it. A number of Python or JavaScript could differ from it."""

    __slots__ = ()


def parsed(text: str) -> Any:
    """The value of JSON, with its numbers as :class:`Exact`.

    :raises ValueError: for text that is not JSON, and for what is nested too deeply.
    """
    check_depth(text)
    return json.loads(text, parse_float=Exact, parse_int=Exact)


def as_object(value: object) -> dict[str, Any]:
    """`value` if it is a JSON object, else an empty dict, because other programs may have written anything."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def json_or_text(text: str) -> Any:
    """The value that a person has typed: the value of JSON that the database can store, or else `text` itself."""
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
    """JSON in lines. The numbers that :func:`parsed` has read are written as they were."""
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
