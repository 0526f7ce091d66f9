"""What became of a job or workflow that a program waits for."""

from __future__ import annotations

from typing import Generic, TypeVar, cast

from ..errors import ObanError

R = TypeVar("R")


class Result(Generic[R]):
    """What became of a job, or of a workflow or node.

    :param value: what it has returned. Default: None.
    :param error: what it ended with. Default: none.

    :ivar error: a :class:`JobFailed`, :class:`JobDiscarded` or :class:`JobCancelled`; a :class:`ResultTimeout` if it
        had not finished in time; None if it has completed.
    """

    __slots__ = ("_value", "error")

    def __init__(self, value: R | None = None, error: ObanError | None = None) -> None:
        self.error = error
        self._value = value

    @property
    def value(self) -> R:
        """What it has returned. Raises :attr:`error` if there is one."""
        if self.error is not None:
            raise self.error
        return cast(R, self._value)

    def __repr__(self) -> str:
        return f"<Result {type(self.error).__name__ if self.error else 'completed'}>"
