"""Plain functions in the thread that calls them, for tests: they block it, and need no event loop."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy.exc import MissingGreenlet
from sqlalchemy.util import await_only

from ...errors import ObanError
from ...workers.running_loop import running_loop
from .call import ENDS_PROCESS, Call, Raised, Result, Returned
from .executor import Timer


class Inline:
    """Runs each call in place. Its :meth:`run` never waits for anything."""

    interruptible = False

    async def run(self, call: Call) -> Result:
        try:
            value = call.begin()
            while inspect.isawaitable(value):
                value = _awaited(value, call)
            return Returned(value)
        except ENDS_PROCESS:
            raise
        except BaseException as error:
            return Raised(error)

    def after(self, seconds: float, fn: Callable[..., object], *args: Any) -> Timer:
        timer = threading.Timer(seconds, fn, args)  # the event loop, if there is one, is blocked meanwhile
        timer.daemon = True
        timer.start()
        return timer

    async def do(self, fn: Callable[[], None]) -> None:
        """Call `fn`, here and now."""
        fn()


def _awaited(value: Awaitable[Any], call: Call) -> Any:
    """What comes of an awaitable that a plain function has returned: on the event loop that waits for this code, if it
    does, or else on a new one."""

    begun = False

    async def wait() -> Any:
        nonlocal begun
        begun = True
        return await value

    if running_loop() is None:
        return asyncio.run(wait())
    try:
        return await_only(wait())
    except MissingGreenlet:
        if begun:
            raise  # by the job
        if inspect.iscoroutine(value):
            value.close()
        raise ObanError(
            f"{call.worker.name} is a plain function and returned an awaitable, and nothing waits for it here; "
            "make it a coroutine function"
        ) from None
