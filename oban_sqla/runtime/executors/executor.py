"""What every executor can do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

from ...workers.context import SlotsLike
from ..journal.journal import Journal
from ..verdict import Stop
from .call import Call, Judged, Result


class Timer(Protocol):
    """A call that will be made later."""

    def cancel(self) -> object:
        """Don't make the call."""
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


class Stoppable(Protocol):
    """A run that may have been asked to stop."""

    @property
    def stop(self) -> Stop | None:
        """Why it was asked to stop; None when it was not."""
        ...


class Attempted(Stoppable, Protocol):
    """A run of a job of this node, somewhere else."""

    @property
    def slots(self) -> SlotsLike | None:
        """Where it counts as running."""
        ...

    @property
    def journal(self) -> Journal:
        """What the run tells."""
        ...

    async def end_journal(self) -> None:
        """Write what it has told."""
        ...


class Remote(Protocol):
    """Runs calls outside this process: in children, or on other machines."""

    @property
    def places(self) -> int:
        """How many calls it runs at once, as far as that is known; 0 for any number."""
        ...

    async def run(self, call: Call, attempt: Attempted, begin: Callable[[], None]) -> Result | Judged:
        """Run `call` to its end. Cancelling this asks the call to stop; it still ends only when the call has ended.

        :param attempt: the run, for what it has been asked.
        :param begin: called when the call begins, which may be long after it was given.
        """
        ...

    def after(self, seconds: float, fn: Callable[..., object], *args: Any) -> Timer:
        """Call ``fn(*args)`` after so many seconds."""
        ...


Executors: TypeAlias = Mapping[str, Executor]
"""By the name that workers ask for: ``"async"``, ``"thread"``."""

Remotes: TypeAlias = Mapping[str, Remote]
"""By the name that workers ask for: ``"process"``, or a name of the user's."""
