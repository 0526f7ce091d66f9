"""What a job's function declares to return: the form in which a result is kept, and in which it comes back."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from functools import cached_property
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import PydanticSerializationError, from_json

from ..errors import InvalidArgs
from ..models import Workflow
from ..models.fit import UNKNOWN
from ..options.instance import KeyedInstance, has_instance, referred, state_of, told
from ..options.resources import is_alias, meaning
from .entity import refuse_hidden, rewritten
from .outcomes import Outcome, Record

_PLAIN = frozenset({str, int, float, bool, type(None)})


class Returned:
    """The type that a function returns.

    :param fn: the function.
    """

    def __init__(self, fn: Callable[..., Any]) -> None:
        self._fn = fn
        self._name = fn.__qualname__.replace("<locals>.", "")

    @property
    def declares_value(self) -> bool:
        """Whether it says that it returns more than None, and does not record values by itself."""
        return not (self._records or self._hint in (UNKNOWN, None, type(None), Any, object, typing.NoReturn))

    @property
    def declares_flow(self) -> bool:
        """Whether it says that it returns a workflow, which takes the place of its job."""
        return Workflow in members(self._hint)

    def check_early(self) -> None:
        """Refuse a declared type of which a recorded key would not tell the row, as far as its names are known already.

        :raises InvalidOption: for unions and sets of mapped classes.
        """
        if not self.declares_flow and self._hint is not UNKNOWN:
            _ = self._rewritten

    def read(self, text: str) -> Any:
        """A recorded value, from its JSON text; with a :class:`Key` in the place of each instance of a mapped class.

        :raises InvalidArgs: when it is not what the function declares.
        """
        if self.declares_flow or (adapter := self._adapter) is None:  # the nodes of a workflow declare what it returns
            return from_json(text)
        try:
            return cast(object, adapter.validate_json(text))
        except ValidationError as error:
            # Without the values: they may be secret.
            said = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'it'}: {one['msg']}" for one in error.errors())
            raise InvalidArgs(
                f"{self._name}: the recorded value is not what the function declares to return: {said}; an older "
                "version of it has recorded it, or the type does not read what it writes, as with an alias for one of "
                "both, or a field that is excluded or computed. The job's id, in place of the spec, gives the value as "
                "JSON"
            ) from None

    def kept(self, value: object) -> object:
        """`value` in the form in which JSON keeps it. What its type can't say stays as it is.

        Of instances of mapped classes only the key is kept.

        :raises InvalidArgs: for an instance that has none yet, or whose class is not the declared one.
        """
        if type(value) in _PLAIN:
            return value
        if self._hint is Workflow:
            raise InvalidArgs(f"{self._name}: it declares to return a Workflow, and returned {told(value)}")
        if has_instance(value):
            if not self._has_entity:
                raise InvalidArgs(
                    f"{self._name}: it returned an instance of a mapped class, of which only the key can be kept, and "
                    "does not declare to return that class; annotate what it returns, or return the key"
                )
            value = referred(value, _with_key, "the recorded value")
        if self._hint in (Any, object) or (adapter := self._adapter) is None:
            return value
        try:
            return cast(object, adapter.dump_python(value, mode="json", by_alias=True, warnings=False))
        except (PydanticSerializationError, UnicodeDecodeError):
            return value  # where the text is made, a message says why it can't be

    @cached_property
    def _records(self) -> bool:
        return any(isinstance(kind, type) and issubclass(kind, Record) for kind in members(self._declared))

    @cached_property
    def _declared(self) -> Any:
        try:
            hint = typing.get_type_hints(self._fn, include_extras=True).get("return", UNKNOWN)
            return meaning(hint) if is_alias(hint) else hint
        except Exception:  # whatever an annotation raises that nothing else needs
            return UNKNOWN

    @cached_property
    def _hint(self) -> Any:
        """The declared type, without the outcomes."""
        values = [kind for kind in members(self._declared) if not _is_outcome(kind)]
        if len(values) == len(members(self._declared)):
            return self._declared
        return typing.Union[tuple(values)] if values else None  # noqa: UP007 (of any number)

    @cached_property
    def _rewritten(self) -> tuple[Any, bool]:
        hint = self._hint
        if self.declares_flow:  # which is never kept
            values = tuple(kind for kind in members(hint) if kind is not Workflow)
            hint = typing.Union[values] if values else Any  # noqa: UP007 (of any number)
        return rewritten(hint, f"{self._name}: what it returns")

    @property
    def _has_entity(self) -> bool:
        return self._hint is not UNKNOWN and self._rewritten[1]

    @cached_property
    def _adapter(self) -> TypeAdapter[Any] | None:
        if self._records or self._hint in (UNKNOWN, None, type(None)):
            return None
        try:
            made: TypeAdapter[Any] = TypeAdapter(self._rewritten[0])
        except PydanticUserError:  # a type of which pydantic knows nothing
            return None
        refuse_hidden(made.core_schema, f"{self._name}: what it returns")
        return made


def _with_key(instance: Any, path: str) -> KeyedInstance:
    state = state_of(instance)
    if state.key is None or state.deleted:
        raise InvalidArgs(
            f"{path}: {type(instance).__name__} has no key yet, or is deleted; flush the session before it is returned"
        )
    return KeyedInstance(instance, state.identity)


def result_type(fn: Callable[..., Any]) -> Any:
    """The annotation of what `fn` returns, as it is written; :data:`UNKNOWN` where there is none that can be read."""
    try:
        return typing.get_type_hints(fn, include_extras=True).get("return", UNKNOWN)
    except (NameError, TypeError):
        return UNKNOWN


def members(hint: Any) -> tuple[Any, ...]:
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if is_union else (hint,)


def _is_outcome(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Outcome)
