"""Lengths of time as users give them."""

from __future__ import annotations

from datetime import timedelta

from ..errors import InvalidOption

LARGEST = 10_000_000_000
"""Three hundred years: whatever is that far away still has a date."""


def seconds(value: object, what: str) -> float:
    """`value`, a number of seconds or a timedelta, as seconds.

    :raises InvalidOption: when it is neither, negative, or not finite.
    """
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < LARGEST:
        too_long = isinstance(value, int | float) and value >= LARGEST
        most = f", less than {LARGEST:,}" if too_long else ""
        raise InvalidOption(f"{what}: expected seconds (0 or more{most}) or a timedelta, got {value!r}")
    return float(value)


def limit(value: object, what: str) -> float:
    """`value`, a number of seconds or a timedelta within which something has to happen, as seconds.

    :raises InvalidOption: when it is neither, not more than 0, or not finite.
    """
    if (found := seconds(value, what)) == 0:
        raise InvalidOption(f"{what}: expected more than 0 seconds, or None for no limit, got {value!r}")
    return found
