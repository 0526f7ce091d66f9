"""The other end of an executor: it takes a call as bytes, runs the job, and returns the answer as bytes."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import sys
import threading
import traceback
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractContextManager
from contextvars import copy_context
from typing import Any

from ..errors import InvalidOption
from ..options.encryption import Encryption, using
from ..options.sessionmakers import SessionMaker
from ..runtime.acks import Ack
from ..runtime.durable.store import Store
from ..runtime.executors.call import Call, Raised
from ..runtime.executors.executor import Executor
from ..runtime.executors.inline import Inline
from ..runtime.executors.loop import OnLoop
from ..runtime.host import Host
from ..runtime.journal.job_log import kept_apart
from ..runtime.journal.journal import Journals
from ..runtime.row import Row
from ..runtime.run import Run
from ..runtime.sessions import Load, Sessions
from ..runtime.verdict import Stop, judge
from ..workers.context import SlotsLike, running
from ..workers.registry import workers
from ..workers.worker import Worker
from .errand import ChildError, answer, errand, unjudged
from .factories import Made, Remade, resources_asked
from .telling import taken

Carried = tuple[Ack | None, BaseException | None]
Driver = Callable[[Coroutine[Any, Any, Any]], Any]
"""Runs a coroutine to its end on an event loop that no other code uses."""


def perform(payload: bytes) -> bytes:
    """Run a job that a node has sent here, and return what becomes of it. This never raises.

    The other end of an executor calls it, in any process and in any thread without a running event loop.

    :param payload: what :meth:`Executor.submit` was given.
    :returns: the answer, which the awaited run of :meth:`Executor.submit` gives to the node.
    """
    runner = asyncio.Runner()
    performer = Performer(driver=lambda work: runner.run(work, context=copy_context()))
    try:
        return performer.perform(payload)
    finally:
        performer.close()
        runner.close()


class Performer:
    """Runs calls that a node has sent here, one at a time.

    :param driver: runs a coroutine; it may use the same event loop for all.
    :param makers: gives the sessionmakers for jobs that ask for a session. Default: there are none.
    :param slots: where a job counts as running. Default: nowhere.
    :param traced: makes the trace that it is given the current one. Default: there is no trace.
    :param journals: take what runs tell. Default: it is sent with the answer.
    :param store: where the steps of jobs are kept. Default: jobs can have no steps.
    """

    def __init__(
        self,
        *,
        driver: Driver,
        makers: Callable[[], Sequence[SessionMaker]] = lambda: (),
        slots: SlotsLike | None = None,
        traced: Callable[[dict[str, str]], AbstractContextManager[object]] = lambda trace: contextlib.nullcontext(),
        journals: Journals | None = None,
        store: Store | None = None,
    ) -> None:
        # Given, and never written again.
        self._driver = driver
        self._makers = makers
        self._slots = slots
        self._traced = traced
        self._journals = journals
        self._store = store
        # The run under way, and the event loop on which it runs, if any. Written by _carry_out(), read by stop().
        self._run: Run | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        # Why to stop a call that has been read and has not begun. Written by expect() and stop(), taken by
        # _carry_out().
        self._stop: Stop | None = None
        # The objects for which jobs ask.
        self._resources = Remade()

    @property
    def is_busy(self) -> bool:
        """Whether a call is under way."""
        return self._run is not None

    def expect(self) -> None:
        """Note that the next call has been read: :meth:`stop` now means that call. May be called from any thread."""
        with self._lock:
            self._stop = None

    def stop(self, reason: Stop) -> None:
        """Ask the call under way to stop, or the one that was read last. May be called from any thread."""
        with self._lock:
            if self._run is None:
                self._stop = reason
            elif self._loop is None:
                self._run.stop = reason
            else:
                with contextlib.suppress(RuntimeError):  # the call has just ended
                    self._loop.call_soon_threadsafe(self._run.ask_to_stop, reason)

    def perform(self, payload: bytes) -> bytes:
        """See :func:`perform`."""
        try:
            sent = errand(payload)
            worker = _worker(sent.row.worker, sent.module)
            keys = None if sent.keys is None else Encryption(sent.keys)
            with using(keys), self._traced(sent.trace):
                self._resources.names, self._resources.groups = sent.factories, sent.groups
                if self._journals is not None:
                    return self._carry_out(sent.row, worker, self._journals)
                with kept_apart(sent.log) as journals:
                    return self._carry_out(sent.row, worker, journals)
        except BaseException as error:
            return _failure(error)

    def close(self) -> None:
        """Close what was made for the jobs."""
        if self._resources.is_used:
            self._driver(self._resources.close())

    def _carry_out(self, row: Row, worker: Worker, journals: Journals) -> bytes:
        call = Call(worker, row)
        # As a function where the job asks for no session: one of its steps may.
        makers = self._makers() if worker.session_kind or worker.entities else self._makers
        sessions = _Sessions(makers=makers, driver=self._driver, on_loop=worker.is_async)
        place: Executor = _OnLoop() if worker.is_async else _Here()
        executors = {worker.executor: place}
        run = Run(row, Host(executors, sessions, resources=self._resources, journals=journals, store=self._store))
        run.slots = self._slots
        with self._lock:
            run.stop, self._stop = self._stop, None
            self._run = run
        token = running.set(run)
        ack: Ack | None
        try:
            if run.stop is not None:
                ack, error = judge(row, worker, Raised(asyncio.CancelledError()), run.stop)
            elif worker.is_async:
                ack, error = self._driver(self._on_loop(run, call))
            else:
                ack, error = self._here(run, call)
        finally:
            running.reset(token)
            with self._lock:
                self._run = self._loop = None
        kept = run.tells and self._journals is None
        told = taken(run.journal, most=sys.maxsize, most_bytes=sys.maxsize) if kept else None
        return answer(ack, error, committed=run.committed, bare=worker.encrypted, told=told)

    def _here(self, run: Run, call: Call) -> Carried:
        """Run a plain function outside of any event loop, so that it may use its own."""
        if not (asked := resources_asked(call.worker)):
            return _without_loop(_carried_out(run, call))
        values, close = self._driver(self._resources.open(run.row, asked))
        run.host.resources = Made(values)
        error: BaseException | None = None
        try:
            ack, error = _without_loop(_carried_out(run, call))
        finally:
            if close is not None:
                self._driver(close(error))
        return ack, error

    async def _on_loop(self, run: Run, call: Call) -> Carried:
        task = asyncio.ensure_future(_carried_out(run, call))
        with self._lock:
            run.task, self._loop = task, asyncio.get_running_loop()
            if run.stop is not None:
                task.cancel()
        await asyncio.wait((task,))
        if task.cancelled():  # before its first statement
            return judge(run.row, call.worker, Raised(asyncio.CancelledError()), run.stop)
        return task.result()


async def _carried_out(run: Run, call: Call) -> Carried:
    try:
        return await run.carry_out(call)
    except BaseException as raised:  # raised by the session, or before the call could begin
        return judge(run.row, call.worker, Raised(raised), run.stop)


def _without_loop(work: Coroutine[Any, Any, Carried]) -> Carried:
    """Run a coroutine that waits for nothing, without an event loop."""
    try:
        work.send(None)
    except StopIteration as end:
        result: Carried = end.value
        return result
    raise InvalidOption("a plain function waited for an event loop")


class _NoTimer:
    def cancel(self) -> None:
        pass


class _Here(Inline):
    """Runs plain functions in the thread that serves the calls. The node watches timeouts."""

    def after(self, seconds: float, fn: Callable[..., object], *args: Any) -> _NoTimer:
        return _NoTimer()


class _OnLoop(OnLoop):
    """Runs coroutines on the loop of the driver. The node watches timeouts."""

    def after(self, seconds: float, fn: Callable[..., object], *args: Any) -> _NoTimer:
        return _NoTimer()


class _Sessions(Sessions):
    """The sessions of one call. For a plain function the driver runs what needs an event loop."""

    def __init__(
        self, *, makers: Sequence[SessionMaker] | Callable[[], Sequence[SessionMaker]], driver: Driver, on_loop: bool
    ) -> None:
        super().__init__(makers=makers, blocking=_at_once)
        self._driver = driver
        self._on_loop = on_loop

    async def apart(self, load: Load, *, on_loop: bool) -> None:
        if on_loop:
            await super().apart(load, on_loop=on_loop)
        else:
            self._driver(super().apart(load, on_loop=on_loop))

    async def graft(self, *acks: Ack) -> bool:
        return await super().graft(*acks) if self._on_loop else bool(self._driver(super().graft(*acks)))


async def _at_once(fn: Callable[[], None]) -> None:
    fn()


def _worker(name: str, module: str) -> Worker:
    if workers.get(name) is None:
        importlib.import_module(module)  # named by the node, never by a row
    return workers[name]


def _failure(error: BaseException) -> bytes:
    """The answer when the run could not begin."""
    described = ChildError(type(error).__name__, str(error), "".join(traceback.format_exception(error)))
    return unjudged(described)


__all__ = ["Performer", "perform"]
