"""Code that runs around every run of a job. (Dramatiq's middleware and Oban Pro's hooks.)"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, cast

from ..errors import InvalidOption, misfit
from ..models import Job
from ..telemetry import job_logger as logger
from ..telemetry.job_filter import ended
from ..telemetry.log_error import log_error
from .closing import current, passes

METHODS = {"before": ("job",), "after": ("job", "state", "error")}
"""What they are called with."""


class Hook:
    """Code that runs around every run of a job: override ``before``, ``after``, or both.

    ::

        class Audit(Hook):
            async def before(self, job: Job) -> None: ...
            def after(self, job: Job, state: str, error: BaseException | None) -> None: ...

        Oban(engine, hooks=[Audit()], …)          # around every job that this node runs
        @job(hooks=[Audit()])                     # around the jobs of one worker, inside the hooks of the node

    The methods may be coroutine functions. Plain functions run on the event loop and must not block it. Any object with
    one of the two methods is a hook; it need not inherit from this class.

    A job that is cancelled or discarded while it does not run calls no hook: one that waits, has not started by its
    deadline, or whose node has died. ``on_cancelled`` and ``on_discarded`` of a :class:`Batch` are enqueued then, too.
    """

    def before(self, job: Job) -> Awaitable[None] | None:
        """Called before the job, outside of its session and its timeout.

        If it raises, that is the outcome of the run, as if the job had raised it: an exception makes the run fail,
        :class:`Cancel` cancels the job.

        :param job: the job that is about to run.
        """

    def after(self, job: Job, state: str, error: BaseException | None) -> Awaitable[None] | None:
        """Called when the outcome is known, in reverse order, unless the hook's ``before`` has raised.

        If it raises, the error is logged.

        :param job: the job as it was fetched.
        :param state: its new state, or ``"fenced"`` if it had been given to another run.
        :param error: what the job raised; None if it raised nothing.
        """


class Around:
    """The hooks of one run."""

    __slots__ = ("_entered", "_hooks")

    def __init__(self, hooks: Sequence[object]) -> None:
        self._hooks = hooks
        self._entered: list[object] = []

    @property
    def is_entered(self) -> bool:
        """Whether there is a hook whose `before` was called, and whose `after` was not."""
        return bool(self._entered)

    async def before(self, job: Job) -> None:
        """Call `before` of each. Raises what they raise."""
        for hook in self._hooks:
            await _call(hook, "before", job)
            self._entered.append(hook)

    async def after(self, job: Job, state: str, error: BaseException | None) -> None:
        """Call `after` of those that were entered. Raises nothing of theirs, and no cancellation either.

        :param state: what became of the job; ``"fenced"`` when it had been given to another run.
        """
        task = current()
        token = ended.set(job)
        try:
            while self._entered:
                hook = self._entered.pop()
                try:
                    await _call(hook, "after", job, state, error)
                except BaseException as raised:  # also the cancellation of a run that is over: its ack must not be lost
                    if passes(raised, task):
                        raise
                    log_error(logger, raised, "the hook %r raised after job %d", hook, job.id, extra=_extra(job))
        finally:
            ended.reset(token)


def checked_hooks(given: object, what: str) -> tuple[object, ...]:
    """`given` as hooks.

    :raises InvalidOption: for anything without a method ``before`` or ``after``, and for a class: it is to be called.
    """
    if given is None:
        return ()
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise InvalidOption(f"{what}: hooks must be a list of objects, got {given!r}")
    hooks = tuple(cast(Iterable[object], given))
    for hook in hooks:
        if isinstance(hook, type):
            raise InvalidOption(
                f"{what}: a hook must be an object, not a class: give {hook.__name__}() instead of {hook.__name__}"
            )
        if not any(_has(hook, method) for method in METHODS):
            raise InvalidOption(
                f"{what}: a hook must have a method before(job) or after(job, state, error), got {hook!r}"
            )
        for method, names in METHODS.items():
            _refuse_unfit(what, hook, method, names)
    return hooks


def _refuse_unfit(what: str, hook: object, method: str, given: tuple[str, ...]) -> None:
    if not callable(fn := getattr(hook, method, None)):
        return
    if (why := misfit(fn, *given)) is not None:
        called = f"{method}({', '.join(given)})"
        raise InvalidOption(f"{what}: the hook {hook!r} is called as {called}, and that does not fit: {why}")


def _has(hook: object, method: str) -> bool:
    """Whether a hook has a method that does something: what it inherits of :class:`Hook` does nothing."""
    if not isinstance(hook, Hook) or type(hook) is Hook:
        return callable(getattr(hook, method, None))
    return method in vars(hook) or getattr(type(hook), method) is not getattr(Hook, method)


def _extra(job: Job) -> dict[str, Any]:
    return {"job_id": job.id, "worker": job.worker, "queue": job.queue, "attempt": job.attempt}


async def _call(hook: object, method: str, *args: Any) -> None:
    fn: Callable[..., Any] | None = getattr(hook, method, None)
    if fn is not None and inspect.isawaitable(result := fn(*args)):
        await result
