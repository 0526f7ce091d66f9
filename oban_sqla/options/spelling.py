"""Classes of options that say what is wrong with a call, where Python has only a TypeError."""

from __future__ import annotations

import inspect
from functools import wraps
from typing import Any, TypeVar

from ..errors import InvalidOption, refuse_unknown

T = TypeVar("T")


def spelled(cls: type[T]) -> type[T]:
    """Let a call of `cls` with an option that is misspelt, missing or given twice raise :class:`InvalidOption`."""
    made: Any = cls
    init = made.__init__
    options = inspect.signature(init)

    @wraps(init)
    def checked(self: T, *args: Any, **given: Any) -> None:
        try:
            init(self, *args, **given)
        except TypeError:
            try:
                options.bind(self, *args, **given)
            except TypeError as error:
                raise _explained(cls.__name__, options, args, given, error) from None
            raise  # it is not about the call

    made.__init__ = checked
    return cls


def _explained(
    name: str, options: inspect.Signature, args: tuple[Any, ...], given: dict[str, Any], error: TypeError
) -> InvalidOption:
    """What is wrong with a call that does not fit the `options` of the class `name`."""
    known = [*options.parameters.values()][1:]
    try:
        refuse_unknown(given, [one.name for one in known], name)
    except InvalidOption as unknown:
        return unknown
    by_position = [one.name for one in known if one.kind is one.POSITIONAL_OR_KEYWORD]
    for option in known[len(args) :]:
        if option.default is option.empty and option.name not in given:
            return InvalidOption(f"{name}: {option.name} is missing; write {name}({option.name}=…)")
    if len(args) > len(by_position):
        takes = ", ".join(by_position) or "none"
        return InvalidOption(
            f"{name}: takes {len(by_position)} by position ({takes}), got {len(args)}; give the others by name"
        )
    return InvalidOption(f"{name}: {error}")
