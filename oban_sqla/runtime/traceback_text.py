"""An exception as text, from the job's own code on."""

from __future__ import annotations

import traceback
from types import TracebackType


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
    while trace is not None and trace.tb_next is not None and "oban_sqla" in trace.tb_frame.f_code.co_filename:
        trace = trace.tb_next
    return trace
