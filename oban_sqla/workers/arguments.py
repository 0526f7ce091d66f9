"""A worker's parameters as a schema: arguments are checked when a spec is made, and again before the job runs.

At ``.new()`` an argument too many is an error; at run it is ignored, so that a new version of a program may drop a
parameter while jobs of the old version are still queued.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from pydantic import ConfigDict, PydanticSchemaGenerationError, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, PydanticSerializationError, to_jsonable_python
from typing_extensions import TypedDict

from ..errors import InvalidArgs, InvalidOption
from ..options.later import has_later

_MISSING = inspect.Parameter.empty
# Type checkers know only the form with literals.
_typed_dict = typing.cast(Callable[[str, dict[str, Any]], Any], TypedDict)


class Arguments:
    """The parameters of one function.

    :param fn: the function.
    :param injected: the types whose parameters the runtime fills in; they are no part of a job's args.
    :raises InvalidOption: for parameters that can't be given by name.
    """

    def __init__(self, fn: Callable[..., Any], injected: Sequence[type]) -> None:
        self._fn = fn
        self._injected_types = tuple(injected)
        self._name = fn.__qualname__.replace("<locals>.", "")
        self._parameters = dict(inspect.signature(fn).parameters)
        for parameter in self._parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
                raise InvalidOption(
                    f"{self._name}: the parameter {parameter} can't be given by name, and a job's args have names; "
                    "write it as an ordinary parameter"
                )

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a call by name.

        :raises InvalidArgs: for more positional arguments than there are parameters, or one given twice.
        """
        if not args:
            return kwargs
        names = self._names
        if len(args) > len(names):
            raise InvalidArgs(f"{self._name}: takes {len(names)} arguments ({', '.join(names)}), got {len(args)}")
        bound = dict(zip(names, args, strict=False))
        if twice := bound.keys() & kwargs.keys():
            raise InvalidArgs(f"{self._name}: {sorted(twice)[0]!r} is given twice, by position and by name")
        return bound | kwargs

    def check(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """`args` validated, in the form in which JSON carries them.

        :raises InvalidArgs: naming the parameter.
        """
        try:
            valid = self._strict.validate_python(args)
        except ValidationError as error:
            raise self._invalid(error.errors()) from None
        try:
            return typing.cast(dict[str, Any], self._strict.dump_python(valid, mode="json", warnings=False))
        except PydanticSerializationError as error:
            raise InvalidArgs(f"{self._name}: {_unserializable(valid) or error}") from None

    def check_known(self, args: Mapping[str, Any]) -> None:
        """Check what can be before the flush: the names, and the arguments in which no `later` stands.

        :raises InvalidArgs: naming the parameter.
        """
        known = {name: value for name, value in args.items() if not has_later(value)}
        try:
            self._strict.validate_python(known)
        except ValidationError as error:
            waiting = [(name,) for name in args if name not in known]
            if details := [detail for detail in error.errors() if detail["loc"] not in waiting]:
                raise self._invalid(details) from None

    def load_json(self, args: str) -> dict[str, Any]:
        """Stored `args` as keyword arguments for the function.

        :raises InvalidArgs: naming the parameter.
        """
        try:
            return typing.cast(dict[str, Any], self._lenient.validate_json(args))
        except ValidationError as error:
            raise self._invalid(error.errors()) from None

    @cached_property
    def injected(self) -> dict[str, type]:
        """The parameters that the runtime fills in, with the type that each asks for."""
        wanted: dict[str, type] = {}
        for name, hint in self._hints.items():
            kind = _plain(hint)
            if isinstance(kind, type) and kind in self._injected_types:
                wanted[name] = kind
        return wanted

    @cached_property
    def _names(self) -> list[str]:
        return [
            name
            for name, parameter in self._parameters.items()
            if name not in self.injected and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        ]

    @cached_property
    def _hints(self) -> dict[str, Any]:
        try:
            hints = typing.get_type_hints(self._fn, include_extras=True)
        except NameError as error:
            raise InvalidOption(
                f"{self._name}: its annotation names {error.name!r}, which is not known where it is defined; "
                "import it at the module's top, not only under TYPE_CHECKING or inside a function"
            ) from None
        return {name: hints.get(name, Any) for name in self._parameters}

    @cached_property
    def _strict(self) -> TypeAdapter[Any]:
        return self._adapter("forbid")

    @cached_property
    def _lenient(self) -> TypeAdapter[Any]:
        return self._adapter("ignore")

    def _adapter(self, extra: typing.Literal["forbid", "ignore"]) -> TypeAdapter[Any]:
        fields: dict[str, Any] = {}
        open_ended = False
        for name, parameter in self._parameters.items():
            if name in self.injected:
                continue
            if parameter.kind is parameter.VAR_KEYWORD:
                open_ended = True
                continue
            hint = self._hints[name]
            fields[name] = hint if parameter.default is _MISSING else typing.NotRequired[hint]
        schema: Any = _typed_dict(self._name, fields)
        schema.__pydantic_config__ = ConfigDict(extra="allow" if open_ended else extra, arbitrary_types_allowed=True)
        try:
            return TypeAdapter(schema)
        except PydanticSchemaGenerationError as error:
            raise InvalidOption(f"{self._name}: a parameter has a type that JSON can't carry: {error}") from None

    def _invalid(self, details: Iterable[ErrorDetails]) -> InvalidArgs:
        # Without the values: they may be secret, and messages travel to logs.
        return InvalidArgs(f"{self._name}: " + "; ".join(map(_sentence, details)))


def _sentence(detail: ErrorDetails) -> str:
    where = ".".join(str(part) for part in detail["loc"]) or "args"
    match detail["type"]:
        case "missing":
            return f"the argument {where!r} is missing"
        case "extra_forbidden":
            return f"there is no parameter {where!r}"
        case _:
            return f"{where}: {detail['msg']} (got {type(detail['input']).__name__})"


def _unserializable(valid: Mapping[str, object]) -> str | None:
    for name, value in valid.items():
        try:
            to_jsonable_python(value)
        except PydanticSerializationError:
            return f"{name}: {type(value).__name__}, which JSON can't carry; pass what identifies it"
    return None


def _plain(hint: Any) -> Any:
    """The class in ``Annotated[X, …]`` and in ``X | None``."""
    while typing.get_origin(hint) is typing.Annotated:
        hint = typing.get_args(hint)[0]
    some = [arg for arg in typing.get_args(hint) if arg is not type(None)]
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return some[0] if is_union and len(some) == 1 else hint
