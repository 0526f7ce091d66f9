"""The search of the list of jobs: its parameters in the URL, and what people type."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ..errors import InvalidOption
from ..insight.jobs import STATES
from ..insight.json_text import DEEPEST
from ..insight.search import Search
from .ask import Wrong, whole

NAMES = ("state", "queue", "worker", "tag", "node", "error", "since", "workflow")
_EXAMPLES = {
    "state": "executing", "queue": "mail", "worker": "app.jobs.send", "tag": "urgent", "node": "web-1",
    "error": "timeout", "since": "1h",
}  # fmt: skip
_UNITS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400}
_QUALIFIER = re.compile(r"(state|queue|worker|tag|node|error|since|workflow|id|(?:args|meta)\.[^:\s]+):(.*)", re.DOTALL)
LONGEST = 100 * 366 * 86_400.0
"""The longest length of time in seconds; the database has no room for much more."""
_LENGTH = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)")


@dataclass(frozen=True, slots=True)
class Chip:
    """A part of a search, as it is shown above the list.

    :ivar name: the parameter.
    :ivar value: its value.
    :ivar rest: the parameters without it.
    """

    name: str
    value: str
    rest: tuple[tuple[str, str], ...]


def searching(params: Iterable[tuple[str, str]]) -> tuple[Search, tuple[tuple[str, str], ...]]:
    """The search that the parameters of a URL describe, and those parameters that are a part of it.

    :raises Wrong: for a state, number or length of time that is not valid, and for two values where a job has one.
    """
    kept = tuple((name, value) for name, value in params if is_part(name) and value.strip())
    _check_single(kept)
    if deep := next((name for name, _ in kept if name.count(".") > DEEPEST), None):
        raise Wrong(f"{deep[:40]}…: expected at most {DEEPEST} keys inside each other")
    given = dict(kept)
    try:
        search = Search(
            states=tuple(dict.fromkeys(value for name, value in kept if name == "state")),
            queue=given.get("queue"),
            worker=given.get("worker"),
            tag=given.get("tag"),
            node=given.get("node"),
            args=tuple((name[5:], value) for name, value in kept if name.startswith("args.")),
            meta=tuple((name[5:], value) for name, value in kept if name.startswith("meta.")),
            error=given.get("error"),
            since=None if "since" not in given else length(given["since"]),
            workflow=_number(given.get("workflow")),
        )
    except InvalidOption as error:
        raise Wrong(str(error)) from error
    return search, kept


def typed(text: str) -> tuple[list[tuple[str, str]], int | None]:
    """The parameters that a person has typed, and the id of a job if one was typed.

    An example is ``queue:mail args.user_id:7 error:timeout``. A word without a name is a part of a worker's name.

    :raises Wrong: for a name without a value, and for an id that is not a number.
    """
    try:
        words = shlex.split(text)
    except ValueError:  # a quote without its end
        words = text.split()
    params: list[tuple[str, str]] = []
    for word in words:
        found = _QUALIFIER.fullmatch(word)
        name, value = (found[1], found[2]) if found else ("id" if whole(word) is not None else "", word)
        if name and not value.strip():
            raise Wrong(f"{name}: expected a value right behind the colon, such as {name}:{_EXAMPLES.get(name, '7')}")
        if name == "id":
            if (id := whole(value)) is None:
                raise Wrong(f"id: expected the id of a job, a whole number, got {value[:100]!r}")
            return params, id
        if not name:
            name, value = ("state", word) if word in STATES else ("worker", f"*{word}*")
        params.append((name, value))
    return params, None


def is_part(name: str) -> bool:
    """Whether a parameter is a part of a search."""
    return name in NAMES or (name.startswith(("args.", "meta.")) and len(name) > 5)


def chips(kept: Sequence[tuple[str, str]]) -> list[Chip]:
    """The parts of a search, each with the parameters that remain without it."""
    return [
        Chip(name, value, tuple(pair for at, pair in enumerate(kept) if at != number))
        for number, (name, value) in enumerate(kept)
    ]


def length(text: str) -> float:
    """``1h``, ``30 min`` or ``2d`` in seconds.

    :raises Wrong: for anything else.
    """
    found = _LENGTH.fullmatch(text.strip().lower())
    unit = None if found is None else _UNITS.get(found[2] or "s")
    if found is None or unit is None:
        raise Wrong(f"since: expected a length of time such as 30min, 1h or 2d, got {text!r}")
    seconds = float(found[1]) * unit
    if seconds > LONGEST:
        raise Wrong(f"since: expected at most 100 years, got {text!r}")
    return seconds


def place_to_text(place: Sequence[Any] | None) -> str | None:
    """A place in the list as text for a URL."""
    if place is None:
        return None
    return "~".join(part.isoformat() if isinstance(part, datetime) else str(part) for part in place)


def place_of_text(text: str | None, keys: Sequence[str]) -> tuple[Any, ...] | None:
    """The place in the list that a URL names.

    :raises Wrong: for text that is not a place.
    """
    if text is None:
        return None
    parts = text.split("~")
    try:
        return tuple(_key(name, part) for name, part in zip(keys, parts, strict=True))
    except (ValueError, OverflowError):
        raise Wrong(f"after: expected a place that an earlier page has linked to, got {text[:100]!r}") from None


def _key(name: str, text: str) -> datetime | int:
    if name.endswith("_at"):
        return datetime.fromisoformat(text).astimezone(UTC)
    number = int(text)
    if not -(2**63) <= number < 2**63:
        raise ValueError(text)
    return number


def _check_single(kept: Iterable[tuple[str, str]]) -> None:
    """Refuse two values of a name that takes one: the list would show both, and obey only the last."""
    seen: dict[str, str] = {}
    for name, value in kept:
        if name in NAMES and name != "state" and seen.setdefault(name, value) != value:
            raise Wrong(f"{name}: expected one value, got {seen[name][:100]!r} and {value[:100]!r}")


def _number(text: str | None) -> int | None:
    if text is not None and whole(text) is None:
        raise Wrong(f"workflow: expected the id of a workflow, got {text!r}")
    return whole(text)
