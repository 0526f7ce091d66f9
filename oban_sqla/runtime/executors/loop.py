"""Coroutines, on the node's event loop."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from .call import ENDS_PROCESS, Call, Raised, Result, Returned
from .executor import Timer


class OnLoop:
    """Runs each call in the task that awaits it."""

    interruptible = True

    async def run(self, call: Call) -> Result:
        try:
            value = call.begin()
            return Returned(await value if inspect.isawaitable(value) else value)
        except ENDS_PROCESS:
            raise
        except BaseException as error:  # SystemExit and CancelledError of the job itself are its failures
            return Raised(error)

    def after(self, seconds: float, fn: Callable[..., object], *args: Any) -> Timer:
        return asyncio.get_running_loop().call_later(seconds, fn, *args)
