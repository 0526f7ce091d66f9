"""The order of what came from a set: its own differs from one process to the next, and equal jobs have equal args."""

from __future__ import annotations

import json
from typing import Any, cast


def in_order(stored: object, given: object) -> Any:
    """`stored` with its lists sorted where `given` has sets.

    :param stored: JSON values.
    :param given: what `stored` was made of, in the same shape; where the shapes differ, `stored` stays as it is.
    """
    if isinstance(stored, list):
        items = cast(list[object], stored)
        if isinstance(given, set | frozenset):
            of_sets = all(isinstance(item, frozenset) for item in cast(set[object], given))
            return _sorted([_sorted(cast(list[object], item)) for item in items] if of_sets else items)
        if isinstance(given, list | tuple) and len(items) == len(cast(list[object], given)):
            return [in_order(item, one) for item, one in zip(items, cast(list[object], given), strict=True)]
    elif isinstance(stored, dict) and isinstance(given, dict):
        values, others = cast(dict[str, object], stored), cast(dict[object, object], given)
        if len(values) == len(others):
            return {key: in_order(values[key], one) for key, one in zip(values, others.values(), strict=True)}
    return stored  # pyright: ignore[reportUnknownVariableType]


def _sorted(items: list[Any]) -> list[object]:
    try:
        return sorted(items)
    except TypeError:  # of several kinds, or objects
        return sorted(items, key=lambda item: json.dumps(item, sort_keys=True))
