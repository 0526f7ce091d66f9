"""Arguments that are known only after the flush: ``send_welcome.new(user_id=later(lambda: user.id))``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from typing import Any, TypeVar, cast

from ..errors import InvalidArgs
from .reference import Reference

T = TypeVar("T")


class Later:
    """The place of a value that is filled in at the flush."""

    __slots__ = ("fn",)

    def __init__(self, fn: Callable[[], Any]) -> None:
        self.fn = fn

    def __repr__(self) -> str:
        return f"later({getattr(self.fn, '__qualname__', self.fn)!s})"

    def __str__(self) -> str:
        raise self._not_yet("text")

    def __format__(self, _: str) -> str:
        raise self._not_yet("text")

    def __bool__(self) -> bool:
        raise self._not_yet("true or false")

    def _not_yet(self, what: str) -> InvalidArgs:
        return InvalidArgs(
            f"{self!r} has no value before the flush, so it can't be made {what}; do that inside of the function"
        )


def later(fn: Callable[[], T]) -> T:
    """Defer one argument of a job to the flush, when the other objects of the session have their primary keys.

    ::

        user = User(email=email)
        session.add(user)
        session.add(send_welcome.new(user_id=later(lambda: user.id)))

    :param fn: a function without parameters. It is called once, when the other pending objects of the session have been
        written and the job has not. Its value is validated like any argument. It may not use the id of another spec of
        the same flush.
    :returns: a placeholder, typed as the value of `fn`, for a whole argument or for a place inside lists and dicts.
    :raises InvalidArgs: if `fn` is not callable.
    """
    if not callable(fn):
        raise InvalidArgs(f"later: expected a function without parameters, got {fn!r}; write later(lambda: …)")
    return cast(T, Later(fn))


def is_flat(value: object) -> bool:
    """Whether `value` is a dict of plain values, in which nothing can wait for the flush. Most args are."""
    return isinstance(value, dict) and _ATOMS.issuperset(map(type, cast(dict[object, object], value).values()))


def has_later(value: object) -> bool:
    """Whether a placeholder stands at `value` or inside it."""
    if isinstance(value, dict):
        inside = cast(Collection[object], cast(dict[object, object], value).values())
    elif isinstance(value, list | tuple | set | frozenset):
        inside = cast(Collection[object], value)
    else:
        return type(value) in _PLACEHOLDERS
    # Most are of plain values, and every spec is asked.
    return not _ATOMS.issuperset(map(type, inside)) and any(map(has_later, inside))


_PLACEHOLDERS = (Later, Reference)


def kept(value: Any) -> Any:
    """A copy of `value` that has the same placeholders: what its owner changes later is not in it."""
    if isinstance(value, dict):
        return {key: kept(item) for key, item in cast(dict[object, object], value).items()}
    if isinstance(value, list | tuple):
        return [kept(item) for item in cast(list[object], value)]
    return set(cast(set[object], value)) if isinstance(value, set) else value


_ATOMS = frozenset((str, int, bool, float, type(None)))


def filled(value: Any, path: str = "args") -> Any:
    """`value` with every placeholder replaced by what its function returns.

    :raises InvalidArgs: when a function raises, with the path of the placeholder.
    """
    if isinstance(value, Later):
        try:
            found = value.fn()
        except Exception as error:
            raise InvalidArgs(f"{path}: {value!r} raised {type(error).__name__}: {error}") from error
        if inspect.iscoroutine(found):
            found.close()
            raise InvalidArgs(f"{path}: {value!r} gave a coroutine, and a flush awaits nothing; give a plain function")
        return found
    if isinstance(value, dict):
        items = cast(dict[str, Any], value).items()
        return {key: filled(item, f"{path}.{key}") for key, item in items}
    if isinstance(value, list | tuple):
        return [filled(item, f"{path}[{index}]") for index, item in enumerate(cast(list[Any], value))]
    if isinstance(value, set | frozenset):
        return {filled(item, path) for item in cast(set[Any], value)}
    return value
