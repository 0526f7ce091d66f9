"""The text that PostgreSQL has for a value of type ``jsonb``, so that Python and SQL digest the same bytes.

``jsonb`` keeps one order of keys (by length in bytes, then by bytes) and one spelling of everything but numbers, of
which it keeps the digits behind the point.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any, cast


def jsonb_text(value: object) -> str:
    """What ``value::jsonb::text`` is in PostgreSQL.

    :param value: as :func:`read` returns it; a float is taken for the shortest number that it is read from.
    """
    kind = type(value)
    if kind is str:
        return encode_basestring(cast(str, value))
    if kind is int:
        return str(value)
    if kind is dict:
        return object_text(cast(dict[str, object], value))
    if kind is list:
        return "[" + ", ".join(map(jsonb_text, cast(list[object], value))) + "]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return _number(value if isinstance(value, Decimal) else Decimal(repr(value)))


def object_text(members: dict[str, object]) -> str:
    """What ``value::jsonb::text`` is for an object of these members."""
    keys = members if len(members) < 2 else sorted(members, key=_place)
    return "{" + ", ".join(f"{encode_basestring(key)}: {jsonb_text(members[key])}" for key in keys) + "}"


def picker(keys: Iterable[str]) -> Callable[[str], str]:
    """What makes, of the JSON text of an object, the text of one that has these `keys` alone, null where one lacks."""
    # Thousands of jobs that are unique by the same keys differ in the values alone.
    members = [(f"{encode_basestring(key)}: ", key) for key in sorted(set(keys), key=_place)]
    if len(members) == 1:
        [(only, one)] = members
        return lambda text: f"{{{only}{jsonb_text(read(text).get(one))}}}"

    def pick(text: str) -> str:
        value = read(text)
        return "{" + ", ".join([name + jsonb_text(value.get(key)) for name, key in members]) + "}"

    return pick


def read(text: str) -> Any:
    """JSON text as Python objects, with every number as it is written."""
    try:
        value, end = _scan(text, 0)
        if end == len(text):
            return value
    except StopIteration:
        pass
    return _DECODER.decode(text)  # there is white space around it, or it is not JSON


# Made once: json.loads makes one for each call with such a parameter.
_DECODER = json.JSONDecoder(parse_float=Decimal)
_scan: Callable[[str, int], tuple[Any, int]] = getattr(_DECODER, "scan_once")  # noqa: B009 (typeshed lacks it)


def _place(key: str) -> tuple[int, bytes]:
    raw = key.encode()
    return len(raw), raw


def _number(number: Decimal) -> str:
    text = format(number, "f")
    return text.removeprefix("-") if number.is_zero() else text  # numeric has one zero
