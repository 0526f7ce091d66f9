"""A mapped class as the type of a parameter: its instances travel as their keys, whatever the class itself would do.

Pydantic takes some mapped classes for its models, and would store every column. So the annotations are rewritten
before it sees them.
"""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, cast

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema
from sqlalchemy.orm import Mapper
from sqlalchemy.sql.base import ExecutableOption

from ..errors import InvalidOption
from ..models.base import ObanBase
from ..options.instance import Identity, KeyedInstance, mapper_of
from ..options.key_form import KeyForm
from ..options.resources import DEEPEST, is_alias, meaning

GIVEN = "given"
"""In the validation's context: the instances that a test hands to its job, by number."""


@dataclass(frozen=True, slots=True, eq=False)
class Key:
    """The stored key of an instance that is to be loaded.

    :param entity: how it is loaded.
    :param values: of the primary key.
    """

    entity: Entity
    values: Identity


class Entity:
    """What pydantic is told of a parameter whose type is a mapped class.

    :param mapper: of the class.
    :param options: with which an instance is loaded.
    :raises InvalidOption: for a class whose instances have no key that can be stored.
    """

    def __init__(self, mapper: Mapper[Any], options: Sequence[ExecutableOption] = ()) -> None:
        self.mapper = mapper
        self.options = tuple(options)
        self.name: str = mapper.class_.__name__
        self._form = KeyForm(mapper)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            self.validate, serialization=core_schema.plain_serializer_function_ser_schema(self.dump)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**self._form.schema, "description": f"The key of {self.name}."}

    def validate(self, value: Any, info: core_schema.ValidationInfo[Any]) -> Any:
        """An instance stays what it is, a stored key becomes a :class:`Key`."""
        instance: object = value.instance if isinstance(value, KeyedInstance) else value
        if (mapper := mapper_of(type(instance))) is not None:
            if not mapper.isa(self.mapper) or (mapper is not self.mapper and mapper.concrete):
                raise self._error("", instance)
            return value
        given = None if info.context is None else info.context.get(GIVEN)
        if given is not None and isinstance(value, dict) and GIVEN in value:
            return given[cast(dict[str, Any], value)[GIVEN]]
        try:
            return Key(self, self._form.read(value))
        except ValueError:
            raise self._error(" or its key", cast(object, value)) from None

    def dump(self, value: Any) -> Any:
        """What is stored: the key, and never a column that is not part of it."""
        if isinstance(value, Key):
            return self._form.write(value.values)
        if isinstance(value, KeyedInstance):
            if value.number is not None:
                return {GIVEN: value.number}
            return None if value.key is None else self._form.write(value.key)
        raise TypeError("an instance whose key was not taken")

    def written(self, key: Identity) -> Any:
        """A key as it is in the args, for messages."""
        return self._form.write(key)

    def _error(self, beside: str, got: object) -> PydanticCustomError:
        return PydanticCustomError(
            "instance",
            "expected {expected}, got {got}",
            {"expected": f"{self.name}{beside}", "got": type(got).__name__},
        )


def is_entity(schema: Mapping[str, Any]) -> bool:
    """Whether a schema of pydantic's is that of an :class:`Entity`."""
    function = schema.get("function", {}).get("function")
    return isinstance(getattr(function, "__self__", None), Entity)


def rewritten(
    hint: Any, what: str, options: tuple[ExecutableOption, ...] = (), inside: tuple[Any, ...] = ()
) -> tuple[Any, bool]:
    """An annotation with an :class:`Entity` in the place of each mapped class.

    :param what: the parameter, for messages.
    :param options: with which instances are loaded.
    :param inside: the names of types, as by ``type X = …``, in which it stands: one may be in its own meaning.
    :returns: the annotation, and whether there was one.
    :raises InvalidOption: for a mapped class where its key would not tell the row.
    """
    if (mapper := mapper_of(hint)) is not None:
        return Annotated[Any, _entity(mapper, what, options)], True
    if typing.get_origin(hint) is Annotated:
        return _annotated(hint, what, options, inside)
    named = meaning(hint) if is_alias(hint) else getattr(hint, "__supertype__", None)  # of a NewType
    if named is not None:
        if hint in inside or len(inside) > DEEPEST:
            return hint, False
        made, found = rewritten(named, what, options, (*inside, hint))
        return (made, True) if found else (hint, False)
    args = typing.get_args(hint)
    if not args or typing.get_origin(hint) is typing.Literal:
        return hint, False
    parts = [(arg, False) if _is_literal(arg) else rewritten(arg, what, options, inside) for arg in args]
    if not any(found for _, found in parts):
        return hint, False
    return _container(hint, [part for part, _ in parts], [found for _, found in parts], what), True


def _annotated(
    hint: Any, what: str, options: tuple[ExecutableOption, ...], inside: tuple[Any, ...]
) -> tuple[Any, bool]:
    inner, *metadata = typing.get_args(hint)
    own = tuple(one for one in metadata if isinstance(one, ExecutableOption))
    made, found = rewritten(inner, what, (*options, *own), inside)
    if not found:
        if own:
            raise InvalidOption(f"{what}: a loader option belongs to a mapped class, got {inner!r}")
        return hint, False
    rest = [one for one in metadata if not isinstance(one, ExecutableOption)]
    return (cast(Any, Annotated)[(made, *rest)] if rest else made), True


def _container(hint: Any, parts: list[Any], found: list[bool], what: str) -> Any:
    """The type `hint` with other parts."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        if sum(part is not type(None) for part in parts) > 1:
            raise InvalidOption(
                f"{what}: {_shown(hint)} does not tell of which class a stored key is; write a parameter for "
                "each, or declare one of them"
            )
        return typing.Optional[next(part for part in parts if part is not type(None))]  # noqa: UP045
    if origin in _LISTS:
        return types.GenericAlias(list, tuple(parts))
    if origin is tuple:
        return types.GenericAlias(tuple, tuple(parts))
    if origin in _DICTS and not found[0]:
        return types.GenericAlias(dict, tuple(parts))
    raise InvalidOption(
        f"{what}: {_shown(hint)} can't hold instances of mapped classes; "
        "they can stand alone, and in lists, tuples, and the values of dicts"
    )


_LISTS = (
    list,
    collections.abc.Sequence,
    collections.abc.MutableSequence,
    collections.abc.Iterable,
    collections.abc.Collection,
)
_DICTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def _is_literal(arg: object) -> bool:
    """Whether a part of a type is not a type: the ellipsis of ``tuple[X, ...]``, or the parameters of a callable."""
    return arg is ... or isinstance(arg, list)


def _entity(mapper: Mapper[Any], what: str, options: tuple[ExecutableOption, ...]) -> Entity:
    kind = mapper.class_
    if issubclass(kind, ObanBase):
        raise InvalidOption(
            f"{what}: {kind.__name__} is not an argument; a parameter annotated Job is filled in by the runtime, "
            "and of other jobs pass the ids"
        )
    if any(below.concrete for below in mapper.self_and_descendants if below is not mapper):
        raise InvalidOption(
            f"{what}: below {kind.__name__} there are classes with separate tables and keys (concrete=True), "
            "so a key does not tell the row; use a parameter of the class that has the table"
        )
    try:
        return Entity(mapper, options)
    except InvalidOption as error:
        raise InvalidOption(f"{what}: {error}") from None


def refuse_hidden(schema: Any, what: str) -> None:
    """Refuse a mapped class inside of another type, where pydantic would store its columns.

    :param schema: pydantic's, of the arguments.
    :raises InvalidOption: naming the class.
    """
    for kind in _classes(schema):
        if mapper_of(kind) is not None:
            raise InvalidOption(
                f"{what}: {kind.__name__} is mapped, and stands inside of another type, which would store its columns; "
                "make it a parameter, alone or in a list, tuple, dict or optional"
            )


def _classes(schema: object) -> Iterator[type[Any]]:
    """The classes that a schema of pydantic's makes objects of, at any depth."""
    if isinstance(schema, dict):
        said = cast(dict[str, Any], schema)
        if isinstance(kind := said.get("cls"), type):
            yield kind
        for name, value in said.items():
            if name not in ("metadata", "config", "cls", "function"):
                yield from _classes(value)
    elif isinstance(schema, list | tuple):
        for value in cast(list[object], schema):
            yield from _classes(value)


def keys_in(value: object) -> Iterator[Key]:
    """The keys at `value`, and inside of its lists, tuples and dicts."""
    if isinstance(value, Key):
        yield value
    elif isinstance(value, dict):
        for item in cast(dict[Any, object], value).values():
            yield from keys_in(item)
    elif isinstance(value, list | tuple):
        for item in cast(list[object], value):
            yield from keys_in(item)


def with_instances(value: object, found: Mapping[int, Any]) -> Any:
    """`value` with the instances in the places of their keys.

    :param found: the instances, by the identity of the key's object.
    """
    if isinstance(value, Key):
        return found[id(value)]
    if isinstance(value, dict):
        return {name: with_instances(item, found) for name, item in cast(dict[object, object], value).items()}
    if isinstance(value, list):
        return [with_instances(item, found) for item in cast(list[object], value)]
    if isinstance(value, tuple):
        return tuple(with_instances(item, found) for item in cast(tuple[object, ...], value))
    return value


def _shown(hint: Any) -> str:
    return inspect.formatannotation(hint)
