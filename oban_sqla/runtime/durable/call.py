"""A step as a call: what its function asks for, and how its value travels."""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from pydantic import PydanticUserError, TypeAdapter, ValidationError

from ...errors import InvalidArgs, InvalidOption
from ...models import Job
from ...options.instance import has_instance
from ...options.payload import encode_value
from ...options.resources import plain
from ...telemetry import job_logger as logger
from ...workers.injection import is_session, marked
from ...workers.shape import hidden, innermost, shape

_CONVERTED = ", or annotate what the function returns so that it can be converted"


class StepCall:
    """The function of one step.

    :param name: of the step, for messages.
    :param fn: the function.
    :raises InvalidOption: for what is not a function, or asks for two sessions.
    """

    __slots__ = ("_adapter", "_injected", "fn", "is_async", "name", "session_kind")

    def __init__(self, name: str, fn: Callable[..., Any]) -> None:
        if not callable(fn):
            raise InvalidOption(f"step {name!r}: expected a function, got {fn!r}; write step({name!r}, fn, argument)")
        self.name = name
        self.fn = fn
        self.is_async = "coroutine" in (shape(fn), hidden(fn))
        hints = _hints(fn, name)
        self._injected = {one: kind for one, hint in hints.items() if (kind := plain(hint)) is Job or is_session(kind)}
        if unknown := [one for one in _marked(fn) if one not in self._injected]:
            raise InvalidOption(
                f"step {name!r}: the parameter {unknown[0]!r} is marked injected(), and a step can be given a session "
                "and its Job; annotate it with one of these, or pass a value"
            )
        sessions = {one: kind for one, kind in self._injected.items() if is_session(kind)}
        if len(sessions) > 1:
            raise InvalidOption(f"step {name!r}: {' and '.join(sessions)} are sessions, and a step has one transaction")
        self.session_kind: type | None = next(iter(sessions.values()), None)
        self._adapter = _adapter_of(hints.get("return", Any))

    def bound(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], job: Job, session: object) -> Callable[[], Any]:
        """The call of the function with these arguments, and with what it asks for.

        :raises InvalidArgs: for arguments that it does not take.
        """
        fn = self.fn
        if not self._injected:
            return lambda: fn(*args, **kwargs)
        whole = inspect.signature(fn)
        given = whole.replace(parameters=[one for one in whole.parameters.values() if one.name not in self._injected])
        if twice := sorted(kwargs.keys() & self._injected.keys()):
            raise InvalidArgs(f"step {self.name!r}: the step itself fills in the parameter {twice[0]!r}; leave it out")
        try:
            bound = given.bind(*args, **kwargs)
        except TypeError as error:
            raise InvalidArgs(f"step {self.name!r}: {error}") from None
        for name, kind in self._injected.items():
            bound.arguments[name] = job if kind is Job else session
        every = inspect.BoundArguments(whole, bound.arguments)
        return lambda: fn(*every.args, **every.kwargs)

    def dump(self, value: Any) -> str:
        """`value`, which the function has returned, as JSON text.

        :raises InvalidArgs: when JSON can't carry it.
        """
        what = f"the value of the step {self.name!r}"
        if self._adapter is not None and value is not None:
            try:
                value = self._adapter.dump_python(value, mode="json", warnings=False)
            except Exception as error:
                raise InvalidArgs(f"{what}: {type(error).__name__}: {error}") from error
        try:
            return encode_value(value, what, advice=_CONVERTED)
        except InvalidArgs:
            if not has_instance(value):
                raise
            raise InvalidArgs(
                f"{what} has an instance of a mapped class, which JSON can't carry; return its primary key, and load "
                "it again where it is needed"
            ) from None

    def load(self, text: str | None) -> Any:
        """The value that :meth:`dump` has made `text` of, of the type that the function says it returns."""
        value: Any = None if text is None else json.loads(text)
        if self._adapter is None or value is None:
            return value
        try:
            return self._adapter.validate_json(text or "null")
        except ValidationError as error:
            # To fail would make the next attempt run what is done. The effect counts more than the type.
            logger.warning(
                "step %r: its value is not of the type that %s says it returns, and is given as plain JSON: %s",
                self.name, getattr(self.fn, "__qualname__", self.fn), error.errors(include_input=False)[0]["msg"],
            )  # fmt: skip
            return value


def _hints(fn: Callable[..., Any], name: str) -> Mapping[str, Any]:
    try:
        return typing.get_type_hints(innermost(fn), include_extras=True)
    except NameError as error:
        written = getattr(innermost(fn), "__annotations__", {})
        if any("Session" in str(hint) for hint in written.values()):
            raise InvalidOption(
                f"step {name!r}: an annotation of its function names {error.name!r}, which is not known where it is "
                "defined; import it at the module's top, not only under TYPE_CHECKING or inside a function"
            ) from None
        return {}
    except TypeError:  # a builtin, or an object that is called
        return {}


def _marked(fn: Callable[..., Any]) -> list[str]:
    try:
        return marked(fn)
    except (TypeError, ValueError):  # a builtin without a signature
        return []


def _adapter_of(hint: Any) -> TypeAdapter[Any] | None:
    """What converts values of the type `hint`; None where there is no type, or none that JSON can carry."""
    if hint is Any or hint is type(None):
        return None
    try:
        return _adapter(hint)
    except TypeError:  # it can't be hashed
        return _made(hint)


def _made(hint: Any) -> TypeAdapter[Any] | None:
    try:
        return TypeAdapter(hint)
    except PydanticUserError:
        return None


@lru_cache(maxsize=1_000)
def _adapter(hint: Any) -> TypeAdapter[Any] | None:
    return _made(hint)


__all__ = ["StepCall"]
