"""Coroutines, on the node's event loop."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from ...workers.closing import current, passes
from .call import ENDS_PROCESS, Call, Raised, Result, Returned
from .executor import Timer
from .stall import Stall


async def awaited(value: Any) -> Result:
    """What comes of an awaitable that a call has returned, and of what that returns."""
    if value is None:
        return Returned(None)
    task = current()
    try:
        # A decorator may have put one coroutine into another. To ask of any object takes microseconds, so that is last.
        while inspect.iscoroutine(value) or (value is not None and inspect.isawaitable(value)):
            value = await value
        return Returned(value)
    except BaseException as error:  # SystemExit and CancelledError of the job itself are its failures
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
        if self._stall is None:
            return await self._run(call)
        self._stall.enter(call.row)
        try:
            return await self._run(call)
        finally:
            self._stall.leave(call.row)

    async def _run(self, call: Call) -> Result:
        try:
            value = call.begin()
        except ENDS_PROCESS:
            raise
        except BaseException as error:
            return Raised(error)
        return await awaited(value)

    def after(self, seconds: float, fn: Callable[..., object], *args: Any) -> Timer:
        return asyncio.get_running_loop().call_later(seconds, fn, *args)
