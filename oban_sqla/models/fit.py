"""Whether a result can be an argument, by the types that the two functions declare. In doubt it can."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    PlainSerializer,
    PlainValidator,
    WrapSerializer,
    WrapValidator,
)
from pydantic.fields import FieldInfo

from ..options.instance import mapper_of

_NUMBERS = (int, float, complex)
_ARRAYS = (list, tuple, set, frozenset, Sequence, Iterable)
_REQUIRED = (typing.Required, typing.NotRequired)
_RESHAPING = (BeforeValidator, PlainSerializer, PlainValidator, WrapSerializer, WrapValidator)


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
        if (entity := _entity(of)) is not None:
            name = entity.__name__
            return UNKNOWN, (
                f"of an instance of {name} only the key is kept, and no {key!r}; pass the result whole, to a parameter "
                f"of the type {name}"
            )
        fields = _fields(of)
        if fields is not None:
            if key not in fields and not _is_open(of):
                return UNKNOWN, f"{_named(of)} has no {key!r}; it has {', '.join(fields) or 'nothing'}"
            of = fields.get(key, UNKNOWN)
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
    one, other = _entity(result), _entity(parameter)
    if one is not None and other is not None:
        return issubclass(one, other) or issubclass(other, one)
    if (one is not None and wanted == "object") or (other is not None and kind == "object"):
        return False  # a key is not an object
    if kind is None or wanted is None:
        return True
    if kind != wanted:
        return kind == "integer" and wanted in ("number", "boolean") and parameter is not bool
    if kind == "array":
        of, to = typing.get_args(result), typing.get_args(parameter)
        is_tuple = tuple in (typing.get_origin(result), typing.get_origin(parameter))
        return not of or not to or is_tuple or fits(of[0], to[0])
    return True


def _entity(of: Any) -> type[Any] | None:
    """The mapped class, also where there may be None instead."""
    several = [one for one in _members(of) if one is not type(None)]
    [only] = several if len(several) == 1 else [None]
    return only if isinstance(only, type) and mapper_of(only) is not None else None


def _members(of: Any) -> list[Any]:
    if typing.get_origin(of) in (typing.Union, types.UnionType):
        return [_plain(one) for one in typing.get_args(of)]
    return [of]


def _plain(of: Any) -> Any:
    """The type in ``Annotated[X, …]``, and in a model that is as JSON what its root is."""
    while True:
        if typing.get_origin(of) is typing.Annotated:
            of = UNKNOWN if _is_reshaped(typing.get_args(of)[1:]) else typing.get_args(of)[0]
        elif (model := _model(of)) is not None and model.__pydantic_root_model__:
            of = UNKNOWN if _is_remade(model) or _reads_other(model) else _of_field(model.model_fields["root"])
        else:
            return of


def _model(of: Any) -> type[BaseModel] | None:
    return of if isinstance(of, type) and issubclass(of, BaseModel) else None


def _kind(of: Any) -> str | None:
    """What it is as JSON; None for what is not certain."""
    plain = typing.get_origin(of) or of
    if plain is type(None) or plain is None:
        return "null"
    if typing.is_typeddict(plain):
        return "object"
    if not isinstance(plain, type) or mapper_of(plain) is not None:  # of an instance the key travels
        return None
    if (model := _model(plain)) is not None:
        return None if _is_remade(model) or _reads_other(model) else "object"
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
    if plain in (dict, Mapping) or dataclasses.is_dataclass(plain):
        return "object"
    return None


def _fields(of: Any) -> dict[str, Any] | None:
    """The parts of a type that names them, by their names in JSON: a result is kept by the aliases of its fields."""
    plain = typing.get_origin(of) or of
    if mapper_of(plain) is not None:
        return None
    if typing.is_typeddict(plain):
        return dict(_named_field(name, hint) for name, hint in _hints(plain).items())
    if (model := _model(plain)) is not None:
        return None if _is_remade(model) else _of_model(model)
    if isinstance(plain, type) and dataclasses.is_dataclass(plain):
        if (found := getattr(plain, "__pydantic_fields__", None)) is not None:
            return {_key(name, field): _of_field(field) for name, field in found.items() if not field.exclude}
        hints = _hints(plain)
        return dict(_named_field(field.name, hints.get(field.name, UNKNOWN)) for field in dataclasses.fields(plain))
    return None


def _of_model(model: type[BaseModel]) -> dict[str, Any]:
    given = {_key(name, field): _of_field(field) for name, field in model.model_fields.items() if not field.exclude}
    computed = {one.alias or name: one.return_type for name, one in model.model_computed_fields.items()}
    made = {name for one in model.__pydantic_decorators__.field_serializers.values() for name in one.info.fields}
    if made:
        names = {_key(name, field): name for name, field in model.model_fields.items()}
        given = {key: UNKNOWN if {"*", names[key]} & made else of for key, of in given.items()}
    return given | computed


def _key(name: str, field: FieldInfo) -> str:
    return field.serialization_alias or field.alias or name


def _of_field(field: FieldInfo) -> Any:
    return UNKNOWN if _is_reshaped(field.metadata) else field.annotation


def _named_field(name: str, hint: Any) -> tuple[str, Any]:
    marks = typing.get_args(hint)[1:] if typing.get_origin(hint) is typing.Annotated else ()
    field = next((mark for mark in marks if isinstance(mark, FieldInfo)), None)
    return (name if field is None else _key(name, field)), hint


def _is_open(of: Any) -> bool:
    """Whether a value of a type that names its parts may have others."""
    plain: Any = typing.get_origin(of) or of
    if (model := _model(plain)) is not None:
        return model.model_config.get("extra") == "allow"
    return hasattr(plain, "__pydantic_config__")


def _is_remade(model: type[Any]) -> bool:
    """Whether a function of a model says what it is as JSON."""
    return bool(model.__pydantic_decorators__.model_serializers)


def _reads_other(model: type[Any]) -> bool:
    """Whether a function of a model may read something else as one."""
    made = model.__pydantic_decorators__
    before = (one.info.mode != "after" for one in made.model_validators.values())
    return any(before) or bool(made.root_validators)


def _is_reshaped(marks: Iterable[object]) -> bool:
    """Whether functions beside a type say what is written, or read."""
    return any(isinstance(mark, _RESHAPING) for mark in marks)


def _hints(of: Any) -> dict[str, Any]:
    try:
        found = typing.get_type_hints(of, include_extras=True)
        return {name: typing.get_args(hint)[0] if typing.get_origin(hint) in _REQUIRED else hint
                for name, hint in found.items()}  # fmt: skip
    except NameError:
        return dict.fromkeys(getattr(of, "__annotations__", {}), UNKNOWN)


def _named(of: Any) -> str:
    return getattr(of, "__name__", None) or str(of)
