"""Arguments that are known only after the flush: ``send_welcome.new(user_id=later(lambda: user.id))``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from ..errors import InvalidArgs

T = TypeVar("T")


class Later:
    """The place of a value that is filled in at the flush."""

    __slots__ = ("fn",)

    def __init__(self, fn: Callable[[], Any]) -> None:
        self.fn = fn

    def __repr__(self) -> str:
        return f"later({getattr(self.fn, '__qualname__', self.fn)!s})"


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


def has_later(value: object) -> bool:
    """Whether a placeholder stands at `value` or inside it."""
    if isinstance(value, Later):
        return True
    if isinstance(value, dict):
        return any(has_later(item) for item in cast(dict[object, object], value).values())
    return isinstance(value, list | tuple) and any(has_later(item) for item in cast(list[object], value))


def filled(value: Any, path: str = "args") -> Any:
    """`value` with every placeholder replaced by what its function returns.

    :raises InvalidArgs: when a function raises, with the path of the placeholder.
    """
    if isinstance(value, Later):
        try:
            return value.fn()
        except Exception as error:
            raise InvalidArgs(f"{path}: {value!r} raised {type(error).__name__}: {error}") from error
    if isinstance(value, dict):
        items = cast(dict[str, Any], value).items()
        return {key: filled(item, f"{path}.{key}") for key, item in items}
    if isinstance(value, list | tuple):
        return [filled(item, f"{path}[{index}]") for index, item in enumerate(cast(list[Any], value))]
    return value
