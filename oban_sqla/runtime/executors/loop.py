"""Coroutines, on the node's event loop."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from types import CoroutineType
from typing import Any

from ...workers.closing import current, passes
from .call import Call, Raised, Result, Returned
from .executor import Timer
from .stall import Stall

_COROUTINE: type[Any] = CoroutineType
"""What an async function returns. Without parameters, of which a type checker would not know the types."""


async def awaited(value: Any) -> Result:
    """What comes of an awaitable that a call has returned, and of what that returns."""
    task = current()
    try:
        # A decorator may have put one coroutine into another. To ask of any object takes microseconds, so that is last.
        while inspect.iscoroutine(value) or (value is not None and inspect.isawaitable(value)):
            value = await value
        return Returned(value)
    except BaseException as error:
        if passes(error, task):
            raise
        return Raised(error)


class OnLoop:
    """Runs each call in the task that awaits it.

    :param stall: is told which jobs run here. Default: nothing is.
    """

    interruptible = True

    def __init__(self, stall: Stall | None = None) -> None:
        self._stall = stall

    async def run(self, call: Call) -> Result:
        stall, task = self._stall, current()
        if stall is not None:
            stall.enter(call.row)
        try:
            value = call.begin()
            if type(value) is _COROUTINE:
                value = await value
            return Returned(None) if value is None else await awaited(value)
        except BaseException as error:  # SystemExit and CancelledError of the job itself are its failures
            if passes(error, task):
                raise
            return Raised(error)
        finally:
            if stall is not None:
                stall.leave(call.row)

    def after(self, seconds: float, fn: Callable[..., object], *args: Any) -> Timer:
        return asyncio.get_running_loop().call_later(seconds, fn, *args)
