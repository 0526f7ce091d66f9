"""Whether a run was asked to stop, as its job sees it: in any thread, and also when the run has ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

R = TypeVar("R")
Look = Callable[[], bool]


class Asked(Generic[R]):
    """Whether a run was asked to stop. It knows nothing of the run, so that a job may hold it.

    :ivar reason: why; None as long as it was not. Written by the run.
    :ivar told: whether the job has looked since then. Written by look(), in the job's thread.
    """

    # Defaults, so that the one of each run costs nothing but itself.
    reason: R | None = None
    told = False

    def look(self) -> bool:
        """Whether it was asked; the job then knows."""
        self.told = self.reason is not None
        return self.told


_looks: WeakKeyDictionary[object, Look] = WeakKeyDictionary()
# Not an attribute of the job, which programs pickle.


def let_look(job: object, look: Look) -> None:
    """Let `job` ask `look`, which must not refer to it."""
    _looks[job] = look


def was_asked(job: object) -> bool:
    """Whether the run of `job` was asked to stop; False for a job that no run of this process has made."""
    look = _looks.get(job)
    return look is not None and look()
