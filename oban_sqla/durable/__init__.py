"""Long jobs: steps that run once whatever the attempts, sleeps of days, and waits for a signal.

::

    from oban_sqla.durable import sleep, step, wait_for

    @job(queue="orders")
    async def fulfil(order_id: int) -> None:
        await step("charge", charge_card, order_id)
        await step("book", book, order_id)                      # book(session: AsyncSession, order_id: int)
        answer = await wait_for("approved", timeout=timedelta(days=2))
        await sleep(timedelta(days=3))
        await step("thank", send_thanks, order_id, answer["by"])

A job that sleeps or waits is ``scheduled``: it has no slot, burns no attempt, and starts from its top. What it has done
in steps is not done again. For plain functions, in threads and child processes, :mod:`oban_sqla.durable.sync` has the
same names.

Belongs here: what a job calls. Does not: how it is kept (see `runtime.durable`), and how a signal is sent (see
:meth:`oban_sqla.Oban.signal`).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, Concatenate, ParamSpec, TypeVar, overload

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from ..errors import SignalTimeout
from ..models import Job
from .current import ledger

P = ParamSpec("P")
T = TypeVar("T")
In1 = TypeVar("In1", bound=Job | AsyncSession | Session)
In2 = TypeVar("In2", bound=Job | AsyncSession | Session)


class _Untyped:
    """Only a parameter without a type takes it; type checkers would take that for a session."""


_Async = Coroutine[Any, Any, T]


@overload
async def step(name: str, fn: Callable[Concatenate[_Untyped, P], _Async[T]], /, *args: Any, **kwargs: Any) -> T: ...
@overload
async def step(name: str, fn: Callable[Concatenate[_Untyped, P], T], /, *args: Any, **kwargs: Any) -> T: ...
@overload
async def step(
    name: str, fn: Callable[Concatenate[In1, _Untyped, P], _Async[T]], /, *args: Any, **kwargs: Any
) -> T: ...
@overload
async def step(name: str, fn: Callable[Concatenate[In1, _Untyped, P], T], /, *args: Any, **kwargs: Any) -> T: ...
@overload
async def step(
    name: str, fn: Callable[Concatenate[In1, In2, P], _Async[T]], /, *args: P.args, **kwargs: P.kwargs
) -> T: ...
@overload
async def step(name: str, fn: Callable[Concatenate[In1, In2, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
@overload
async def step(name: str, fn: Callable[Concatenate[In1, P], _Async[T]], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
@overload
async def step(name: str, fn: Callable[Concatenate[In1, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
@overload
async def step(name: str, fn: Callable[P, _Async[T]], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
@overload
async def step(name: str, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
async def step(name: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call a function once for this job, whatever its attempts, and return its value: ``await step("charge", charge)``.

    When the function has returned, its value is kept with the job. A later run, after a failure, a crash or a sleep,
    gets the value at once and does not call the function. A function that raises has done nothing: the error is raised
    here, nothing is kept, and the next run calls it again.

    A function with a parameter annotated ``AsyncSession`` or ``Session`` gets its own session. What it writes
    there and the mark that the step is done are one commit, so its effect happens exactly once. Any other function runs
    at least once: a process that dies after the call and before the mark runs it again.

    :param name: of the step, once in a run; a loop numbers its own: ``f"page {n}"``.
    :param fn: a coroutine function, or a plain one, which runs in a thread. It may ask for a session and for the
        ``Job``: these parameters are filled in. Put them first, or give them the default :func:`injected`.
    :param args: its arguments, without what is filled in.
    :param kwargs: the same, by name.
    :returns: its value, as it comes back from JSON: by pydantic as the type that the function says it returns. Up to
        1 MiB as JSON.
    :raises Exception: what the function raises.
    :raises InvalidOption: for a name that was used before in this run, or is not valid.
    :raises InvalidArgs: for a value that JSON can't carry. Annotate what the function returns to have it converted.
    :raises ObanError: for a step with a session while the job's own session is in a transaction, or inside another
        step.
    :raises NotInJob: if it is called outside of a job.
    """
    book = ledger("step")
    return await book.step(book.suspending, name, fn, args, kwargs)


async def sleep(duration: float | timedelta, name: str | None = None) -> None:
    """Sleep without a slot: ``await sleep(timedelta(days=3))``.

    The job becomes ``scheduled``, without using up an attempt, and starts from its top when the time has come; there
    this call returns at once. Its own session is rolled back; what it has done in steps lasts. The end of the sleep is
    fixed when it begins: a job that is started early sleeps on.

    Do not catch ``BaseException`` around it: the run ends by one, which has to pass.

    :param duration: seconds or a timedelta.
    :param name: by which a later run knows it again, once in a run. Default: its number among the sleeps of the run
        that have no name, which changes when the code before it changes.
    :raises InvalidOption: for a duration that is not valid, or a name that was used before in this run.
    :raises ObanError: inside of a step.
    :raises NotInJob: if it is called outside of a job.
    """
    book = ledger("sleep")
    await book.sleep(book.suspending, duration, name)


async def wait_for(name: str, timeout: float | timedelta | None = None, live: float | timedelta = 5.0) -> Any:
    """Wait for a signal, see :meth:`oban_sqla.Oban.signal`, and return its payload: ``await wait_for("approved")``.

    A signal that was sent before is kept, so it is there at once. Each signal is taken by one wait, in the order in
    which they were sent; a later run of the job gets the same one again. If none comes while the job waits with its
    slot, it becomes ``scheduled`` as by :func:`sleep`, and starts from its top when the signal is sent.

    :param name: of the signal. Several waits for one name take one signal each, in the order of the calls.
    :param timeout: seconds or a timedelta after which the wait is given up, counted from the first run that waits.
        Default: never.
    :param live: seconds or a timedelta for which the job keeps its slot while it waits, up to just before its timeout.
        Default 5.
    :returns: the payload.
    :raises SignalTimeout: if no signal came in time. A later run gets this again.
    :raises InvalidOption: for a value that is not valid.
    :raises ObanError: inside of a step.
    :raises NotInJob: if it is called outside of a job.
    """
    book = ledger("wait_for")
    return await book.wait_for(book.suspending, name, timeout, live)


__all__ = ["SignalTimeout", "sleep", "step", "wait_for"]
