"""What a running job can ask about itself."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol

from ..errors import NotInJob
from ..models import Job


class Running(Protocol):
    """A run of a job, as :func:`current_job` finds it."""

    @property
    def job(self) -> Job: ...

    def cancelled(self) -> bool: ...


running: ContextVar[Running] = ContextVar("oban_sqla_running")


def current_job() -> Job:
    """The job that is running here, in a coroutine or in the thread of a plain function.

    :returns: the job as it was fetched; it belongs to no session.
    :raises NotInJob: outside of a job.
    """
    return _current("current_job").job


def cancelled() -> bool:
    """Whether the job that is running here has been asked to stop: by its timeout, by somebody, or by its node's end.

    A coroutine is cancelled the usual way; a plain function in a thread can't be, and asks here from time to time. When
    somebody cancelled the job, a function that was told so here and returns nothing counts as stopped.

    :raises NotInJob: outside of a job.
    """
    return _current("cancelled").cancelled()


def _current(what: str) -> Running:
    try:
        return running.get()
    except LookupError:
        raise NotInJob(f"{what}() was called outside of a job; pass what you need as an argument instead") from None
