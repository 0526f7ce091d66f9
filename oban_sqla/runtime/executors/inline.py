"""Plain functions in the thread that calls them, for tests: they block it, and need no event loop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from .call import ENDS_PROCESS, Call, Raised, Result, Returned
from .executor import Timer


class Inline:
    """Runs each call in place. Its :meth:`run` never waits for anything."""

    interruptible = False

    async def run(self, call: Call) -> Result:
        try:
            return Returned(call.begin())
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
