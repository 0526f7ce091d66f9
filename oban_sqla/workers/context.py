"""What code can ask about the job that it runs in."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from .. import telemetry
from ..errors import NotInJob
from ..models import Job
from ..models.asked import Asked

if TYPE_CHECKING:
    from .journal import Journal


class SlotsLike(Protocol):
    """Where a run counts as running."""

    def release(self, job_id: int) -> None: ...

    def leave(self, job_id: int) -> None: ...

    async def back(self, job_id: int) -> None: ...

    def return_now(self, job_id: int) -> None: ...


class Running(Protocol):
    """A run of a job, as :func:`current_job` finds it."""

    @property
    def job(self) -> Job: ...

    @property
    def row(self) -> object: ...

    @property
    def asked(self) -> Asked[Any]: ...

    @property
    def journal(self) -> Journal: ...

    @property
    def session(self) -> AsyncSession | Session | None: ...

    @property
    def slots(self) -> SlotsLike | None: ...

    def cancelled(self) -> bool: ...


in_child = False
"""Whether this process is a child of a node. Written once, when a child starts."""

running: ContextVar[Running] = telemetry.running


def current_job() -> Job:
    """The job that this code runs in, in a coroutine or in the thread of a plain function.

    :returns: the job as it was fetched; it belongs to no session.
    :raises NotInJob: if it is called outside of a job.
    """
    return running_job("current_job").job


def cancelled() -> bool:
    """Whether this job was asked to stop: by its timeout, by :meth:`Oban.cancel`, or because its node stops.

    A coroutine is cancelled as usual. A plain function in a thread can't be interrupted, so a long one should call this
    periodically and return early. If it was told so and returns None, it counts as stopped: a job that was cancelled by
    :meth:`Oban.cancel` becomes ``cancelled``, and one whose node stops is available again, without losing an attempt.
    What returns a value has finished.

    :returns: True if it should stop.
    :raises NotInJob: if it is called outside of a job.
    """
    return running_job("cancelled").cancelled()


def release_slot() -> None:
    """From here on this job does not count in the limit of its queue on its node, so that the node starts another one.

    For a job that from now on only waits, for example for an answer of another service. Limits of the cluster, such as
    ``global_limit``, still count it, and its timeout goes on. A second call does nothing, and neither does a call in a
    job that a test runs.

    :raises NotInJob: if it is called outside of a job.
    """
    running = running_job("release_slot")
    if running.slots is not None:
        running.slots.release(running.job.id)


def outside(what: str) -> str:
    """What the error of a function of running jobs says, where no job runs."""
    instead = "pass what you need as an argument, or" if what == "current_job" else "only a job can do that;"
    return f"{what}() was called outside of a job; {instead} in a test run the function as one: perform(fn.new(…))"


def running_job(what: str) -> Running:
    """The run that this code is in.

    :param what: the name of the public function, for the error.
    :raises NotInJob: if there is none.
    """
    try:
        return running.get()
    except LookupError:
        raise NotInJob(outside(what)) from None
