"""Telling a job that raises GeneratorExit, which is its failure, from a coroutine that Python closes."""

from __future__ import annotations

import asyncio
from typing import Any


def current() -> asyncio.Task[Any] | None:
    """The task that runs this; None outside an event loop."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def passes(error: BaseException, task: asyncio.Task[Any] | None) -> bool:
    """Whether `error` has to go on to whatever runs the coroutine, instead of being a failure of its code.

    :param error: what was raised in a coroutine.
    :param task: the task in which the coroutine ran. When Python closes a coroutine, that task is not the current one.
    """
    return isinstance(error, KeyboardInterrupt) or (isinstance(error, GeneratorExit) and current() is not task)
