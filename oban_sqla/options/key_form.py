"""A primary key as JSON, in the form in which the database itself prints it: queries and relationships meet it too."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python
from sqlalchemy import Enum, TypeDecorator
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Mapper
from sqlalchemy.types import TypeEngine

from ..errors import InvalidOption
from .instance import Identity

Convert = Callable[[Any], Any]


class KeyForm:
    """The form of the keys of a mapped class: ``7``, or ``[7, "x"]`` where several columns make one.

    :param mapper: of the class.
    :raises InvalidOption: for a key of bytes, which JSON can't carry.
    """

    def __init__(self, mapper: Mapper[Any]) -> None:
        self._parts = [_part(column.type, f"{mapper.class_.__name__}.{column.key}") for column in mapper.primary_key]

    def write(self, key: Identity) -> Any:
        """A key as JSON values."""
        values = [part.write(value) for part, value in zip(self._parts, key, strict=True)]
        return values[0] if len(values) == 1 else values

    def read(self, stored: Any) -> Identity:
        """A key of JSON values.

        :raises ValueError: for anything else.
        """
        if len(self._parts) == 1:
            return (self._parts[0].read(stored),)
        if not isinstance(stored, list | tuple) or len(cast(list[Any], stored)) != len(self._parts):
            raise ValueError(f"expected {len(self._parts)} values")
        return tuple(part.read(value) for part, value in zip(self._parts, cast(list[Any], stored), strict=True))

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of a key."""
        parts = [part.schema for part in self._parts]
        if len(parts) == 1:
            return parts[0]
        return {"type": "array", "prefixItems": parts, "minItems": len(parts), "maxItems": len(parts)}


class _Part:
    """One column of a key.

    :param kind: the Python type that JSON is read as.
    :param bind: makes of an attribute's value what is sent to the database.
    :param result: the opposite.
    """

    def __init__(self, kind: Any, bind: Convert | None, result: Convert | None) -> None:
        self._adapter: TypeAdapter[Any] = TypeAdapter(kind)
        self._bind = bind
        self._result = result

    def write(self, value: Any) -> Any:
        return to_jsonable_python(value if self._bind is None else self._bind(value))

    def read(self, stored: Any) -> Any:
        try:
            value = self._adapter.validate_python(stored)
            return value if self._result is None else self._result(value)
        except (ValidationError, LookupError, TypeError) as error:
            raise ValueError(str(error)) from None

    @property
    def schema(self) -> dict[str, Any]:
        return self._adapter.json_schema()


class _Decorated(_Part):
    """A column of a type of the user's, which converts what another type then sends."""

    def __init__(self, below: _Part, bind: Convert | None, result: Convert | None) -> None:
        super().__init__(Any, bind, result)
        self._below = below

    def write(self, value: Any) -> Any:
        return self._below.write(value if self._bind is None else self._bind(value))

    def read(self, stored: Any) -> Any:
        value = self._below.read(stored)
        return value if self._result is None else self._result(value)

    @property
    def schema(self) -> dict[str, Any]:
        return self._below.schema


def _part(kind: TypeEngine[Any], what: str) -> _Part:
    if isinstance(kind, TypeDecorator):
        own: Any = kind
        below = _part(kind.impl_instance, what)
        # A type may convert in one direction only.
        has_bind, has_result = (_overrides(own, name) for name in ("process_bind_param", "process_result_value"))

        return _Decorated(
            below,
            (lambda value: own.process_bind_param(value, _dialect())) if has_bind else None,
            (lambda value: own.process_result_value(value, _dialect())) if has_result else None,
        )
    if isinstance(kind, Enum):
        names: Any = kind
        return _Part(str, names.bind_processor(_dialect()), names.result_processor(_dialect(), None))
    try:
        python = kind.python_type
    except NotImplementedError:
        return _Part(Any, None, None)
    if issubclass(python, bytes | bytearray):
        raise InvalidOption(
            f"{what} is bytes, which JSON can't carry, so the key of such a row can't be stored; "
            "pass something else that identifies it"
        )
    return _Part(python, None, None)


def _overrides(kind: object, method: str) -> bool:
    return getattr(type(kind), method) is not getattr(TypeDecorator, method)


@cache
def _dialect() -> Any:
    return cast(Any, postgresql).dialect()
