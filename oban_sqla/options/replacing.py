"""What a duplicate of a unique job changes in the job that is there, checked once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, TypeAlias, cast

from ..errors import InvalidOption, nearest
from .duration import seconds

ReplacedField = Literal["args", "meta", "tags", "priority", "max_attempts", "queue", "scheduled_at"]
Replace: TypeAlias = Mapping[str, Sequence[ReplacedField]] | Sequence[ReplacedField]

REPLACEABLE = ("args", "meta", "tags", "priority", "max_attempts", "queue", "scheduled_at")
WAITING = ("available", "scheduled", "suspended", "retryable")
"""The states of a job that waits; only such a job is changed."""


def checked_replace(given: object, states: Collection[str]) -> dict[str, tuple[str, ...]]:
    """By state, the fields that a duplicate replaces.

    :param given: ``replace=`` of a Unique.
    :param states: in which a job counts as a duplicate.
    :raises InvalidOption: for what can't be replaced, or never would be.
    """
    what = "Unique(replace)"
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        fields = _fields(given, what)
        return {state: fields for state in WAITING if state in states}
    by_state: dict[str, tuple[str, ...]] = {}
    for state, chosen in cast(Mapping[object, object], given).items():
        name = str(state)
        if name not in WAITING:
            raise InvalidOption(
                f"{what}: expected states of jobs that wait ({', '.join(WAITING)}), got {name!r}; "
                "a job that executes or has finished is not changed"
            )
        if name not in states:
            raise InvalidOption(f"{what}: a job that is {name} has no duplicates by its states, so nothing replaces it")
        by_state[name] = _fields(chosen, f"{what}[{name!r}]")
    if not by_state:
        raise InvalidOption(f"{what}: expected at least one state, or a tuple of fields, got {given!r}")
    return by_state


def checked_debounce(debounce: object, most: object, by_state: Mapping[str, Sequence[str]], period: object) -> None:
    """Check the times of a debounce, and what it can't be combined with.

    :param by_state: what :func:`checked_replace` returned.
    :raises InvalidOption: for a time that is not above 0, and for what sets the time as well.
    """
    if debounce is None:
        if most is not None:
            raise InvalidOption("Unique(debounce_max): it needs debounce=, the seconds to wait for another call")
        return
    for name, value in (("debounce", debounce), ("debounce_max", most)):
        if value is not None and not seconds(value, f"Unique({name})") > 0:
            raise InvalidOption(f"Unique({name}): expected more than 0 seconds, got {value!r}")
    if most is not None and seconds(most, "Unique(debounce_max)") < seconds(debounce, "Unique(debounce)"):
        raise InvalidOption(f"Unique(debounce_max): expected at least debounce={debounce!r}, got {most!r}")
    if period is not None:
        raise InvalidOption(
            "Unique: both period and debounce were given; each call of a debounce moves the job, also from one period "
            "into the next; choose one"
        )
    if any("scheduled_at" in fields for fields in by_state.values()):
        raise InvalidOption("Unique: both debounce and replace of scheduled_at were given, which set the same time")


def _fields(given: object, what: str) -> tuple[str, ...]:
    if isinstance(given, str) or not isinstance(given, Sequence) or not given:
        raise InvalidOption(f"{what}: expected a tuple of some of {', '.join(REPLACEABLE)}, got {given!r}")
    fields = tuple(cast(Sequence[object], given))
    for field in fields:
        if field == "worker":
            raise InvalidOption(f"{what}: the worker of a job can't be replaced; enqueue another job")
        if not isinstance(field, str) or field not in REPLACEABLE:
            raise InvalidOption(f"{what}: unknown field {field!r}: {nearest(str(field), REPLACEABLE)}")
    return tuple(dict.fromkeys(cast(tuple[str, ...], fields)))
