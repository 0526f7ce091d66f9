"""The signature of ``new``, for readers and tools; type checkers have it from the types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class _Signed:
    """A method that has, on each object, the signature of the function of its worker, without what is injected."""

    def __init__(self, method: Callable[..., Any]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    def __get__(self, instance: Any, owner: type) -> Callable[..., Any]:
        method = self._method
        if instance is None:
            return method

        def bound(*args: Any, **kwargs: Any) -> Any:
            return method(instance, *args, **kwargs)

        bound.__name__ = method.__name__
        bound.__qualname__ = f"{instance.worker.name}.{method.__name__}"
        bound.__doc__ = method.__doc__
        # A function takes any attribute, of which its type says nothing.
        bound.__signature__ = instance.worker.arguments.signature  # type: ignore[attr-defined]
        # From now on found in the object itself.
        vars(instance)[method.__name__] = bound
        return bound


def signed(method: T) -> T:
    """Make `method` one whose signature readers and tools see as that of the job's function."""
    # A descriptor takes the place of the method; to a type checker it stays the method.
    made: Any = _Signed(method)  # type: ignore[arg-type]
    return made  # type: ignore[no-any-return]
