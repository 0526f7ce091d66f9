"""Which exceptions of a job are worth another attempt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import unwrap
from typing import Any, cast

from ..errors import InvalidOption
from .parts import parts_of

Errors = tuple[type[BaseException], ...]


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What a worker says of the exceptions that its function raises.

    :param retry_for: worth another attempt; None: all are. Anything else discards the job.
    :param discard_for: not worth one; they win.
    """

    retry_for: Errors | None = None
    discard_for: Errors = ()

    def is_final(self, error: BaseException, run: Callable[..., Any] | None) -> bool:
        """Whether `error` discards the job. A group of errors does as soon as one of them would.

        :param run: the function. What the runtime raises before it begins, or after it has ended, is not judged.
            None for an error that is the function's whatever its traceback.
        """
        return self._is_listed(error) and (run is None or _was_raised_by(run, error))

    def _is_listed(self, error: BaseException) -> bool:
        parts = parts_of(error)
        if isinstance(error, self.discard_for) or any(isinstance(part, self.discard_for) for part in parts):
            return True
        retry_for = self.retry_for
        return not (
            retry_for is None or isinstance(error, retry_for) or all(isinstance(part, retry_for) for part in parts)
        )


def checked_errors(given: object, what: str) -> Errors:
    """`given` as classes of exceptions.

    :param what: takes them, for the message.
    :raises InvalidOption: for anything else.
    """
    errors = tuple(cast(tuple[object, ...], given)) if isinstance(given, tuple | list) else (given,)
    if not errors or not all(isinstance(one, type) and issubclass(one, BaseException) for one in errors):
        raise InvalidOption(f"{what}: expected one or more classes of exceptions, such as (ValueError,), got {given!r}")
    return cast(Errors, errors)


def _was_raised_by(run: Callable[..., Any], error: BaseException) -> bool:
    """Whether `error` passed through the code of `run`. A builtin has none: then each error counts as its own."""
    code = getattr(unwrap(run), "__code__", None)
    trace = error.__traceback__
    while code is not None and trace is not None:
        if trace.tb_frame.f_code is code:
            return True
        trace = trace.tb_next
    return code is None
