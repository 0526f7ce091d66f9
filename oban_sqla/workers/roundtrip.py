"""Whether a job's arguments come back from the database as they were given.

What the type of a parameter can carry is decided once, from pydantic's schema of it: most types need no check, because
every value of theirs comes back; where there is no type, a value has to be one that JSON has; in all other cases the
text that will be stored is read again and compared.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, cast
from uuid import UUID

from pydantic import BaseModel, TypeAdapter

from ..errors import InvalidArgs
from .entity import Key, is_entity

_ATOMS = frozenset({"int", "str", "bool", "float", "none"})
_CONVERTED = frozenset({"uuid", "date", "set", "frozenset", "function-plain"})
_CONTAINERS = frozenset({"nullable", "list", "tuple", "set", "frozenset", "dict"})
_KNOWN = _ATOMS | _CONVERTED | _CONTAINERS | {"any"}
# What a schema of these may say beside: limits, which refuse values and change none. Not a validator or a serializer.
_LIMITS = frozenset(
    {"gt", "ge", "lt", "le", "multiple_of", "min_length", "max_length", "pattern", "strict", "allow_inf_nan", "now_op"}
)
_PARTS = frozenset({"schema", "items_schema", "keys_schema", "values_schema"})
_SAID = _LIMITS | _PARTS | {"type", "ref", "metadata", "variadic_item_index"}
_ANY: Mapping[str, Any] = {"type": "any"}

DEEPEST = 200
"""How deep a value is followed; what is nested deeper is refused when the text is made."""


class Travel:
    """How the arguments of a function travel.

    :param adapter: pydantic's for the dict of them.
    :param is_open: whether there may be more than it names.
    """

    __slots__ = (
        "is_converted", "is_open", "parameters", "read_again", "unordered", "untyped", "validator", "with_sets",
    )  # fmt: skip

    def __init__(self, adapter: TypeAdapter[Any], is_open: bool) -> None:
        schema: Any = adapter.core_schema
        while "fields" not in schema:
            schema = schema["schema"]
        # The method of the adapter around it takes as long again.
        self.validator = adapter.validator
        self.is_open = is_open
        self.parameters = {name: Parameter(name, field) for name, field in schema["fields"].items()}
        every = self.parameters.values()
        self.is_converted = any(one.is_converted for one in every)
        self.read_again = [one for one in every if one.is_read_again]
        self.untyped = [one for one in every if one.holds_any and not one.is_read_again]
        self.with_sets = [one for one in every if one.holds_sets]
        # Where lists may stand in lists, a set may stand in a list that was given.
        self.unordered = {set, frozenset, *((list, tuple, dict) if any(one.is_nested for one in every) else ())}
        """The types of arguments in which there may be a set where a list is stored."""


class Parameter:
    """How the values of one parameter travel.

    :param name: of the parameter.
    :param field: its field in pydantic's schema of the arguments.
    """

    __slots__ = ("holds_any", "holds_sets", "is_converted", "is_nested", "is_read_again", "name")

    def __init__(self, name: str, field: Mapping[str, Any]) -> None:
        kinds = [*_kinds(field["schema"])]
        self.name = name
        self.is_read_again = not (_always_comes_back(field["schema"]) and field.keys() <= _FIELD)
        self.is_converted = self.is_read_again or not _CONVERTED.isdisjoint(kinds)
        self.holds_any = "any" in kinds
        self.holds_sets = "set" in kinds or "frozenset" in kinds
        self.is_nested = sum(kind in _CONTAINERS - {"nullable"} for kind in kinds) > 1


_FIELD = frozenset({"type", "schema", "required", "metadata"})


def _always_comes_back(schema: Mapping[str, Any]) -> bool:
    """Whether every value of `schema` comes back, but for what stands where it says `any`."""
    match schema["type"]:
        case "function-plain" if is_entity(schema):
            return True
        case "literal":
            return all(type(value) in (str, int, bool, type(None)) for value in schema["expected"])
        case "union":
            return all(isinstance(choice, dict) and choice["type"] in _ATOMS for choice in schema["choices"])
        case kind if kind not in _KNOWN or not schema.keys() <= _SAID:
            return False
        case "tuple" | "set" | "frozenset" if "any" in _kinds(schema):
            return False  # what `any` may be is told by the kind of the list that it is in
        case "dict" if schema.get("keys_schema", _ANY)["type"] not in ("str", "any"):
            return False
        case _:
            parts = [part for name in _PARTS & schema.keys() for part in _each(schema[name])]
            return all(_always_comes_back(part) for part in parts)


def _each(part: Any) -> Iterable[Mapping[str, Any]]:
    return cast(Iterable[Mapping[str, Any]], part if isinstance(part, list | tuple) else [part])


def _kinds(schema: object) -> Iterator[str]:
    """The types that a schema names, at any depth. A container whose items have none may hold anything."""
    if isinstance(schema, dict):
        said = cast(dict[str, object], schema)
        kind = said.get("type")
        if isinstance(kind, str):
            yield kind
            if kind in _CONTAINERS and not _PARTS & said.keys():
                yield "any"
        for name, value in said.items():
            if name not in ("metadata", "config"):
                yield from _kinds(value)
    elif isinstance(schema, list | tuple):
        for value in cast(list[object], schema):
            yield from _kinds(value)


def refuse_foreign(value: object, path: str, depth: int = 0) -> None:
    """Refuse what JSON does not have: no type says how to read it again, so it would come back as something else.

    :param path: where `value` stands; messages begin with it.
    :raises InvalidArgs: for the first such value at `value` or below.
    """
    if type(value) in (str, int, bool, float, type(None)) or depth > DEEPEST:
        return
    if isinstance(value, dict):
        for key, item in cast(dict[object, object], value).items():
            if not isinstance(key, str) or isinstance(key, enum.Enum):
                raise InvalidArgs(f"{path}: a key is {_named(key)}; keys of JSON objects are strings")
            refuse_foreign(item, f"{path}.{key}", depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(cast(list[object], value)):
            refuse_foreign(item, f"{path}.{index}", depth + 1)
    elif not isinstance(value, str | int | float) or isinstance(value, enum.Enum):
        raise InvalidArgs(
            f"{path}: {_named(value)}, which JSON can't carry; pass what identifies it, or annotate the parameter "
            "with its type so that it can be converted"
        )


Change = tuple[tuple[str, ...], str]
"""Where a value would come back as another one, and how."""


def difference(given: object, back: object, exact: bool) -> Change | None:
    """How `back`, which was read from the text that will be stored, is another value than was `given`.

    Objects are compared by their types and attributes, because how they compare themselves may leave some out. Private
    attributes of models are left out: they are not data.

    :param exact: whether a list is another value than a tuple. It is, unless the type asks for any sequence.
    :returns: None when both are the same.
    """
    kind, other = type(given), type(back)
    if other is Key:  # of an instance: whether there is a row is asked when the job runs
        return None
    if given is back or (kind is other and kind in _BY_VALUE and given == back) or isinstance(given, Iterator):
        return None
    if (inside := _inside(given)) is not None:
        if kind is not other and _origin(kind) is not _origin(other):
            return (), f"{kind.__name__} would come back as {other.__name__}"
        return _first(inside, _inside(back) or {}, exact)
    if isinstance(given, dict) and isinstance(back, dict):
        return _first(cast(dict[object, object], given), cast(dict[object, object], back), exact)
    if isinstance(given, list | tuple) and isinstance(back, list | tuple) and (kind is other or not exact):
        mine, theirs = cast(list[object], given), cast(list[object], back)
        return _first(dict(enumerate(mine)), dict(enumerate(theirs)), exact)
    same = _equal(given, back)  # pyright: ignore[reportUnknownArgumentType]
    return None if same else ((), f"{kind.__name__} would not come back as it was given")


def _first(given: Mapping[Any, object], back: Mapping[Any, object], exact: bool) -> Change | None:
    if given.keys() != back.keys():
        return (), f"{', '.join(sorted(map(str, given.keys() ^ back.keys())))} would not come back"
    for key, value in given.items():
        if (change := difference(value, back[key], exact)) is not None:
            return (str(key), *change[0]), change[1]
    return None


def _inside(value: object) -> Mapping[str, object] | None:
    """The attributes of an object that is compared by them."""
    kind = type(value)
    if hasattr(kind, "__pydantic_fields__") and isinstance(value, BaseModel):
        return {**vars(value), **value.model_extra} if value.model_extra else vars(value)
    if (declared := getattr(kind, "__dataclass_fields__", None)) is not None:
        fields = cast(Mapping[str, dataclasses.Field[Any]], declared)
        return {name: getattr(value, name, None) for name, field in fields.items() if field.compare}
    if kind.__eq__ is object.__eq__ and not isinstance(value, type):
        return getattr(value, "__dict__", {})
    return None


def _origin(kind: type) -> type:
    generic: dict[str, Any] = getattr(kind, "__pydantic_generic_metadata__", {})
    return generic.get("origin") or kind


_BY_VALUE = frozenset({str, int, float, bool, bytes, UUID, date, datetime, time, timedelta})


def _equal(given: object, back: object) -> bool:
    if isinstance(given, enum.Enum) is not isinstance(back, enum.Enum):
        return False
    if isinstance(given, datetime) and isinstance(back, datetime) and given.tzinfo and back.tzinfo:
        # In the hour that clocks repeat, a time is unequal to every other one unless both are in UTC.
        given, back = given.astimezone(UTC), back.astimezone(UTC)
    try:
        return bool(given == back)
    except Exception:  # an array compares by element, a signalling NaN not at all
        return False


def _named(value: object) -> str:
    return type(value).__name__
