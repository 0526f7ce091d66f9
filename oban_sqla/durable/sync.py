"""The functions of :mod:`oban_sqla.durable` for jobs that are plain functions, in threads and child processes.

::

    from oban_sqla.durable.sync import sleep, step, wait_for

    @job(queue="reports")
    def report(month: str) -> None:
        rows = step("load", load_rows, month)
        step("store", store, rows)                              # store(session: Session, rows: list[Row])
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, Concatenate, ParamSpec, TypeVar, overload

from sqlalchemy.orm import Session

from ..errors import ObanError, SignalTimeout
from ..models import Job
from .current import ledger

P = ParamSpec("P")
T = TypeVar("T")
In1 = TypeVar("In1", bound=Job | Session)
In2 = TypeVar("In2", bound=Job | Session)


class _Untyped:
    """Only a parameter without a type takes it; type checkers would take that for a session."""


@overload
def step(name: str, fn: Callable[Concatenate[_Untyped, P], T], /, *args: Any, **kwargs: Any) -> T: ...
@overload
def step(name: str, fn: Callable[Concatenate[In1, _Untyped, P], T], /, *args: Any, **kwargs: Any) -> T: ...
@overload
def step(name: str, fn: Callable[Concatenate[In1, In2, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
@overload
def step(name: str, fn: Callable[Concatenate[In1, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
@overload
def step(name: str, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
def step(name: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call a function once for this job, whatever its attempts, and return its value: ``step("charge", charge, 7)``.

    As :func:`oban_sqla.durable.step`, for a plain function: it is called in this thread.

    :param name: of the step, once in a run; a loop numbers its own: ``f"page {n}"``.
    :param fn: a plain function. It may ask for a ``Session``, whose commit is one with the mark of the step, and for
        the ``Job``; these are filled in.
    :param args: its arguments, without what is filled in.
    :param kwargs: the same, by name.
    :returns: its value, as it comes back from JSON: by pydantic as the type that the function says it returns. Up to
        1 MiB as JSON.
    :raises Exception: what the function raises.
    :raises InvalidOption: for a name that was used before in this run, or is not valid; for a coroutine function.
    :raises InvalidArgs: for a value that JSON can't carry. Annotate what the function returns to have it converted.
    :raises ObanError: for a step with a session while the job's own session is in a transaction, or inside another
        step; on the node's event loop.
    :raises NotInJob: if it is called outside of a job.
    """
    book = ledger("step")
    return _without_loop(book.step(book.blocking, name, fn, args, kwargs))


def sleep(duration: float | timedelta, name: str | None = None) -> None:
    """Sleep without a slot or a thread: ``sleep(timedelta(days=3))``. As :func:`oban_sqla.durable.sleep`.

    :param duration: seconds or a timedelta.
    :param name: by which a later run knows it again, once in a run. Default: its number among the sleeps of the run
        that have no name.
    :raises InvalidOption: for a duration that is not valid, or a name that was used before in this run.
    :raises ObanError: inside of a step.
    :raises NotInJob: if it is called outside of a job.
    """
    book = ledger("sleep")
    _without_loop(book.sleep(book.blocking, duration, name))


def wait_for(name: str, timeout: float | timedelta | None = None, live: float | timedelta = 5.0) -> Any:
    """Wait for a signal, and return its payload. As :func:`oban_sqla.durable.wait_for`.

    :param name: of the signal. Several waits for one name take one signal each, in the order of the calls.
    :param timeout: seconds or a timedelta after which the wait is given up, counted from the first run that waits.
        Default: never.
    :param live: seconds or a timedelta for which the job keeps its slot and its thread while it waits, up to just
        before its timeout. Default 5.
    :returns: the payload.
    :raises SignalTimeout: if no signal came in time. A later run gets this again.
    :raises InvalidOption: for a value that is not valid.
    :raises ObanError: inside of a step.
    :raises NotInJob: if it is called outside of a job.
    """
    book = ledger("wait_for")
    return _without_loop(book.wait_for(book.blocking, name, timeout, live))


def _without_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run what never suspends, because it blocks instead."""
    try:
        work.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    work.close()
    raise ObanError("two threads of a job have asked for its first step at the same time; ask in one of them first")


__all__ = ["SignalTimeout", "sleep", "step", "wait_for"]
