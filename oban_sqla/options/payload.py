"""What a job's args and meta may hold: a JSON object that PostgreSQL can store as ``jsonb``.

Python's encoder lets through what the database refuses later (NaN, NUL, lone surrogates) or changes in silence (keys
that are not strings). Here the first such value is named with its path, before anything is sent.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

from pydantic import BaseModel
from pydantic_core import to_json

from ..errors import InvalidArgs

MAX_BYTES = 1_048_576
MAX_RECORDED = 67_108_864
"""Of what a job returns. It stays in the row, which is loaded when the job runs again."""

MOST_DIGITS = 4_300
"""Of an integer. Python reads no longer ones, and neither does pydantic: the job could never run."""

_TOO_LARGE = 10**MOST_DIGITS
_MANY_DIGITS = re.compile(rb"[0-9]{%d}" % (MOST_DIGITS + 1))
_ATOMS = (str, int, float, bool, type(None))
_LEFT_OUT = 50
"""Characters that say how many are left out."""
_OF_ARGS = ", or annotate the parameter so that it can be converted"
_ANY_VALUE = frozenset((str, int, bool, type(None)))
"""Types of which every value is one that JSON has, or that the encoder refuses."""


def encode(value: Mapping[str, Any], what: str, limit: int = MAX_BYTES) -> str:
    """`value` as JSON text.

    :param what: how messages call the value: ``"args"`` or ``"meta"``.
    :param limit: the longest text in bytes.
    :raises InvalidArgs: for the first value that JSON or ``jsonb`` can't carry, with its path; for more than `limit`.
    """
    if type(value) is dict:  # asked first, because the next question costs as much as the encoding
        plain = cast(dict[str, Any], value)
    elif isinstance(value, Mapping):
        plain = dict(value)
    else:
        raise InvalidArgs(f"{what}: expected a dict with string keys, got {_kind(value)}")
    if not plain:
        return "{}"
    for key, item in plain.items():
        # Flat values of plain types need no walk; the encoder tells about the rest.
        if type(key) is not str or type(item) not in _ANY_VALUE:
            _check(plain, what, _OF_ARGS)
            break
    return _encoded(plain, what, limit, _OF_ARGS, " (or raise JobSpec.max_args_bytes)")


def encode_value(value: object, what: str, limit: int = MAX_BYTES, advice: str = "") -> str:
    """Any JSON value, not just an object, as text. See :func:`encode`.

    :param advice: what else to do, beside passing a key, about a value that JSON can't carry.
    """
    if type(value) not in _ANY_VALUE:
        _check(value, what, advice)
    return _encoded(value, what, limit, advice)


def _encoded(value: object, what: str, limit: int, advice: str, way_out: str = "") -> str:
    try:
        text = to_json(value)  # pydantic's: a sixth of the time of the standard library's
    except (TypeError, ValueError, RecursionError):
        _check(value, what, advice)
        raise InvalidArgs(f"{what}: JSON can't carry this value") from None
    if b"\\u0000" in text or (len(text) > MOST_DIGITS and _MANY_DIGITS.search(text)):
        _check(value, what, advice)
    if len(text) > limit:
        raise InvalidArgs(
            f"{what}: {len(text):,} bytes as JSON, at most {limit:,} are allowed; "
            f"store large data elsewhere and pass a key to it{way_out}"
        )
    return text.decode()


def object_of(text: str | None) -> dict[str, Any]:
    """The JSON object in `text`; an empty one where another program wrote something else, or more than Python reads."""
    try:
        found: object = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return cast(dict[str, Any], found) if isinstance(found, dict) else {}


def storable(text: str, limit: int) -> str:
    """`text` as PostgreSQL can store it: no NUL, no lone surrogates, at most `limit` characters."""
    if len(text) <= limit and text.isascii() and text.isprintable():
        return text
    if len(text) > limit:
        half = max((limit - _LEFT_OUT) // 2, 1)
        text = f"{text[:half]}\n… {len(text) - 2 * half:,} characters left out …\n{text[-half:]}"
    if not text.isprintable():
        text = text.replace("\x00", "\\x00")
    return text.encode("utf-8", "backslashreplace").decode()


def _kind(value: object) -> str:
    return f"{type(value).__name__} ({value!r})" if isinstance(value, _ATOMS) else type(value).__name__


def _check(value: object, path: str, advice: str, depth: int = 0) -> None:
    """Raise for the first value below `path` that ``jsonb`` can't hold."""
    if depth > 200:
        raise InvalidArgs(f"{path}: nested deeper than 200 levels")
    if isinstance(value, str):
        if "\x00" in value:
            raise InvalidArgs(f"{path}: a NUL character, which PostgreSQL can't store in jsonb; remove it or encode it")
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise InvalidArgs(
                    f"{path}: a lone surrogate at position {error.start}, which PostgreSQL can't store as text"
                ) from None
    elif isinstance(value, int):
        if abs(value) >= _TOO_LARGE:
            raise InvalidArgs(f"{path}: an integer of more than {MOST_DIGITS:,} digits, which Python can't read again")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidArgs(f"{path}: {value!r}, for which JSON has no number")
    elif isinstance(value, dict):
        for key, item in cast(dict[object, object], value).items():
            if not isinstance(key, str):
                raise InvalidArgs(f"{path}: the key {key!r} is {_kind(key)}; keys of JSON objects are strings")
            _check(key, f"{path} key {key!r}", advice, depth + 1)
            _check(item, f"{path}.{key}", advice, depth + 1)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(cast(list[object], value)):
            _check(item, f"{path}[{index}]", advice, depth + 1)
    elif not isinstance(value, _ATOMS):
        raise InvalidArgs(f"{path}: {_kind(value)}, which JSON can't carry; {_instead(value)}{advice}")


def _instead(value: object) -> str:
    """What to pass instead of a value that JSON can't carry."""
    if not hasattr(type(value), "__mapper__"):  # SQLModel's are models of pydantic, too
        if isinstance(value, BaseModel):
            return "pass its model_dump(mode='json')"
        if is_dataclass(value) and not isinstance(value, type):
            return "pass dataclasses.asdict(…) of it"
        if isinstance(value, set | frozenset):
            return "pass a list"
        if isinstance(value, date | time | Decimal | UUID):
            return "pass it as text: str(value)"
        if isinstance(value, timedelta):
            return "pass its seconds"
    return "pass what identifies it, such as a primary key"
