"""An exception as text, from the job's own code on."""

from __future__ import annotations

import os
import traceback
from types import TracebackType

from ..errors import ObanError

_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")
"""The folder of this package, which a program's may be called like."""


class Withheld(ObanError):
    """What a job with encrypted arguments has raised, for telemetry: no message, which may hold an argument.

    :ivar kind: the name of its type.
    :ivar places: where it and its causes were raised, as text.
    """

    def __init__(self, error: BaseException) -> None:
        self.kind = kind_of(error)
        self.places = bare_text(error)
        super().__init__(f"{self.kind} (its message is left out, because the worker's arguments are encrypted)")


def kind_of(error: BaseException) -> str:
    """The name of its type; of one that was raised in another process, what it was there."""
    kind = getattr(error, "kind", None)
    return kind if isinstance(kind, str) else type(error).__name__


def bare_text(error: BaseException) -> str:
    """Where `error` and what led to it were raised, and their types, without their messages and notes."""
    if isinstance(places := getattr(error, "places", None), str):
        return places
    parts: list[str] = []
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        parts.append(frames_text(following, type(following).__name__).rstrip())
        cause = following.__cause__
        following = cause or (None if following.__suppress_context__ else following.__context__)
    return "\n\nand then:\n\n".join(reversed(parts))


def traceback_text(error: BaseException) -> str:
    """The traceback of `error`; always some text, whatever the exception does."""
    try:
        return "".join(traceback.format_exception(type(error), error, _from_the_job_on(error.__traceback__))).rstrip()
    except BaseException as broken:
        return f"{type(error).__name__} (its traceback could not be formatted: {type(broken).__name__})"


def frames_text(error: BaseException, said: str) -> str:
    """Where `error` was raised, with `said` in place of its text and of that of its causes."""
    frames = traceback.format_tb(_from_the_job_on(error.__traceback__))
    return "".join(["Traceback (most recent call last):\n", *frames, said])


def _from_the_job_on(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and trace.tb_next is not None and trace.tb_frame.f_code.co_filename.startswith(_PACKAGE):
        trace = trace.tb_next
    return trace
