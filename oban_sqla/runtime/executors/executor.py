"""What every executor can do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

from .call import Call, Result


class Timer(Protocol):
    """A call that will be made later."""

    def cancel(self) -> object:
        """Let it not be made."""
        ...


class Executor(Protocol):
    """Runs calls in one kind of place: on the event loop, in a thread, in another process."""

    @property
    def interruptible(self) -> bool:
        """Whether cancelling the task that awaits :meth:`run` ends the call. Otherwise it is told, and ends by itself.

        Where it is False, :meth:`run` may be cancelled all the same when the whole event loop ends.
        """
        ...

    async def run(self, call: Call) -> Result:
        """Run `call` to its end. What it raises is part of the result; only what ends the process passes."""
        ...

    def after(self, seconds: float, fn: Callable[..., object], *args: Any) -> Timer:
        """Call ``fn(*args)`` after so many seconds, also while a call that runs here blocks this thread."""
        ...


Executors: TypeAlias = Mapping[str, Executor]
"""By the name that workers ask for: ``"async"``, ``"thread"``."""
