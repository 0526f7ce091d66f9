"""Whether a result can be an argument, by the types that the two functions declare. In doubt it can."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from ..options.instance import mapper_of

_NUMBERS = (int, float, complex)
_ARRAYS = (list, tuple, set, frozenset, Sequence, Iterable)


class _Unknown:
    def __repr__(self) -> str:
        return "unknown"


UNKNOWN: Any = _Unknown()


def part(of: Any, path: Sequence[str | int]) -> tuple[Any, str | None]:
    """The type of a part of a value of this type, and why there is no such part; None where there may be one."""
    for key in path:
        of = _plain(of)
        if isinstance(key, int):
            kind = _kind(of)
            if kind not in (None, "array"):
                return UNKNOWN, f"{_named(of)} has no places, so [{key}] is not in it"
            args = typing.get_args(of)
            of = args[0] if kind == "array" and args else UNKNOWN
            continue
        fields = _fields(of)
        if fields is not None:
            if key not in fields:
                return UNKNOWN, f"{_named(of)} has no {key!r}; it has {', '.join(fields) or 'nothing'}"
            of = fields[key]
        elif _kind(of) in (None, "object"):
            args = typing.get_args(of)
            of = args[1] if _kind(of) == "object" and len(args) == 2 else UNKNOWN
        else:
            return UNKNOWN, f"{_named(of)} has no {key!r}"
    return of, None


def fits(result: Any, parameter: Any) -> bool:
    """Whether a value of the type `result`, as JSON, may be one of the type `parameter`."""
    result, parameter = _plain(result), _plain(parameter)
    given, taken = _members(result), _members(parameter)
    if len(given) > 1 or len(taken) > 1:
        return any(fits(one, other) for one in given for other in taken)
    kind, wanted = _kind(result), _kind(parameter)
    if kind is None or wanted is None:
        return True
    if kind != wanted:
        return kind == "integer" and wanted in ("number", "boolean") and parameter is not bool
    if kind == "array":
        of, to = typing.get_args(result), typing.get_args(parameter)
        is_tuple = tuple in (typing.get_origin(result), typing.get_origin(parameter))
        return not of or not to or is_tuple or fits(of[0], to[0])
    return True


def _members(of: Any) -> list[Any]:
    if typing.get_origin(of) in (typing.Union, types.UnionType):
        return [_plain(one) for one in typing.get_args(of)]
    return [of]


def _plain(of: Any) -> Any:
    while typing.get_origin(of) is typing.Annotated:
        of = typing.get_args(of)[0]
    return of


def _kind(of: Any) -> str | None:
    """What it is as JSON; None for what is not certain."""
    plain = typing.get_origin(of) or of
    if plain is type(None) or plain is None:
        return "null"
    if typing.is_typeddict(plain):
        return "object"
    if not isinstance(plain, type) or mapper_of(plain) is not None:  # of an instance the key travels
        return None
    if plain is bool:
        return "boolean"
    if plain is int:
        return "integer"
    if plain in _NUMBERS:
        return "number"
    if plain is str:
        return "string"
    if plain in _ARRAYS:
        return "array"
    if plain in (dict, Mapping) or dataclasses.is_dataclass(plain) or issubclass(plain, BaseModel):
        return "object"
    return None


def _fields(of: Any) -> dict[str, Any] | None:
    """The parts of a type that names them."""
    plain = typing.get_origin(of) or of
    if mapper_of(plain) is not None:
        return None
    if typing.is_typeddict(plain):
        return _hints(plain)
    if isinstance(plain, type) and dataclasses.is_dataclass(plain):
        return {field.name: _hints(plain).get(field.name, UNKNOWN) for field in dataclasses.fields(plain)}
    if isinstance(plain, type) and issubclass(plain, BaseModel):
        return {name: field.annotation for name, field in plain.model_fields.items()}
    return None


def _hints(of: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(of)
    except NameError:
        return dict.fromkeys(getattr(of, "__annotations__", {}), UNKNOWN)


def _named(of: Any) -> str:
    return getattr(of, "__name__", None) or str(of)
