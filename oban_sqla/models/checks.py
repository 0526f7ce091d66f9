"""Checks of a job's options. Each takes the option's name, for the message, and what was given, and returns the value
in the form in which a spec keeps it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeGuard, cast

from ..errors import InvalidOption
from ..options.duration import limit, seconds
from ..options.instance import told
from ..options.payload import encode
from ..options.unique import Unique

MAX_NAME = 255
LARGEST_ID = 2**63 - 1


def is_id(value: object) -> TypeGuard[int]:
    """Whether `value` is a number that the id of a job can have."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST_ID


def check_name(name: str, value: object) -> str:
    """`value` as a name that PostgreSQL can store.

    :param name: of the option, for the message.
    :raises InvalidOption: when it is blank, too long or not text.
    """
    if type(value) is str and value in _GOOD_NAMES:  # the same few again and again
        return value
    if not isinstance(value, str) or not value.strip():
        raise InvalidOption(f"{name}: expected a name, got {told(value)}")
    if len(value) > MAX_NAME:
        raise InvalidOption(f"{name}: at most {MAX_NAME} characters, got {len(value):,}: {value[:40]!r}…")
    check_storable(name, value)
    if len(_GOOD_NAMES) < 1_000:
        _GOOD_NAMES.add(value)
    return value


_GOOD_NAMES: set[str] = set()


def check_storable(name: str, value: str) -> str:
    """`value`, if PostgreSQL can store it as text.

    :raises InvalidOption: when it can't.
    """
    if "\x00" in value or any("\ud800" <= char <= "\udfff" for char in value):
        raise InvalidOption(f"{name}: a NUL or a lone surrogate, which PostgreSQL can't store as text, in {value!r}")
    return value


def check_names(name: str, value: object) -> tuple[str, ...]:
    """`value` as a sequence of names; see :func:`check_name`."""
    if isinstance(value, str) or not isinstance(value, list | tuple | Sequence):
        raise InvalidOption(f"{name}: expected a sequence of strings, got {told(value)}")
    one = f"one of {name}"
    return tuple([check_name(one, item) for item in cast(Sequence[object], value)])


def integer(least: int, most: int, meaning: str) -> Callable[[str, object], int]:
    """A check for whole numbers from `least` to `most`.

    :param meaning: what the number says, for the message.
    """

    def check(name: str, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise InvalidOption(f"{name}: expected {least} to {most:,} ({meaning}), got {value!r}")
        return value

    return check


def check_object(name: str, value: Mapping[str, Any]) -> str:
    """A dict as JSON text.

    :raises InvalidArgs: for what JSON can't carry, with its path.
    """
    return encode(value, name)


def check_time(name: str, value: object) -> datetime:
    """An aware datetime.

    :raises InvalidOption: for a naive one, for one that UTC has no year for, and for anything else.
    """
    if not isinstance(value, datetime):
        raise InvalidOption(f"{name}: expected an aware datetime, got {value!r}")
    if value.tzinfo is None or value.utcoffset() is None:
        raise InvalidOption(
            f"{name}: {value.isoformat()} has no time zone, so it names no instant; "
            "give an aware datetime, such as datetime.now(timezone.utc) + timedelta(hours=1)"
        )
    try:
        value.astimezone(UTC)
    except OverflowError:
        raise InvalidOption(f"{name}: {value.isoformat()} is not in the years 1 to 9999 of UTC") from None
    return value


def check_delay(name: str, value: object) -> float:
    """A number of seconds or a timedelta as seconds.

    :raises InvalidOption: when it is negative or not finite, and for anything else.
    """
    return seconds(value, name)


def check_limit(name: str, value: object) -> float:
    """A number of seconds or a timedelta as seconds.

    :raises InvalidOption: when it is not more than 0 or not finite, and for anything else.
    """
    return limit(value, name)


def check_unique(name: str, value: object) -> Unique:
    """A :class:`Unique`.

    :raises InvalidOption: for anything else.
    """
    if not isinstance(value, Unique):
        raise InvalidOption(f"{name}: expected Unique(…), got {value!r}")
    return value


def unique_as_json(unique: Unique) -> dict[str, Any]:
    """The parameters of `unique`, as JSON carries them."""
    period = unique.period.total_seconds() if isinstance(unique.period, timedelta) else unique.period
    return {
        "period": period,
        "fields": list(unique.fields),
        "keys": list(unique.keys),
        "states": list(unique.state_names),
        **({} if unique.replace is None else {"replace": unique.replace}),
        **({} if unique.delay is None else {"debounce": unique.delay, "debounce_max": unique.longest_delay}),
    }
