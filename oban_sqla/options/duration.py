"""Lengths of time as users give them."""

from __future__ import annotations

from datetime import timedelta

from ..errors import InvalidOption


def seconds(value: object, what: str) -> float:
    """`value`, a number of seconds or a timedelta, as seconds.

    :raises InvalidOption: when it is neither, negative, or not finite.
    """
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1e10:
        raise InvalidOption(f"{what}: expected seconds (0 or more) or a timedelta, got {value!r}")
    return float(value)
