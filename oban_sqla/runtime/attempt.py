"""One run of one job: from the row that was fetched to the ack that says what became of it."""

from __future__ import annotations

import asyncio
import contextvars
import enum
import inspect
import json
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from .. import telemetry
from ..errors import Fenced, InvalidOption, JobTimeout
from ..models import Job
from ..options.backoff import jittered
from ..options.payload import encode_value
from ..statements.ack import CANCELLED_BY_REQUEST
from ..workers.context import running
from ..workers.hooks import Around
from ..workers.outcomes import Cancel, Discard, Outcome, Record, Snooze
from ..workers.registry import workers
from ..workers.worker import Worker
from .acks import Ack, error_entry, failure
from .row import Row
from .sessions import Committed

if TYPE_CHECKING:
    from .executors.thread import Threads
    from .sessions import Sessions

FIRST_UNKNOWN_DELAY = 5.0
LONGEST_UNKNOWN_DELAY = 300.0
FENCED = "fenced"
"""What telemetry and hooks get as the state of a run whose job was given to another run. Not a state of a job."""


class Stop(enum.Enum):
    """Why a run was asked to stop."""

    TIMEOUT = "timeout"
    SHUTDOWN = "shutdown"
    CANCEL = "cancel"


class Timer(Protocol):
    def cancel(self) -> object: ...


class Attempt:
    """A run of the job in `row`.

    :param producer: the uuid under which it was fetched.
    :param threads: where plain functions run.
    :param sessions: opens the session of a job that asks for one.
    :param hooks: run around it, outside of the worker's own.
    """

    __slots__ = (
        "_hooks", "_sessions", "_threads", "_told",
        "committed", "producer", "row", "started", "stop", "task", "thread_busy", "unknown",
    )  # fmt: skip

    def __init__(
        self, row: Row, producer: str, threads: Threads, sessions: Sessions, hooks: tuple[object, ...] = ()
    ) -> None:
        self.row = row
        self.producer = producer
        self.task: asyncio.Task[None] | None = None
        self.stop: Stop | None = None
        self.thread_busy = False
        self.unknown = False
        self.committed: Ack | None = None
        """What the job's own transaction has acknowledged."""
        self.started = 0.0
        self._threads = threads
        self._sessions = sessions
        self._told = False
        self._hooks = hooks

    @property
    def job(self) -> Job:
        return self.row.job

    def cancelled(self) -> bool:
        self._told = self.stop is not None
        return self._told

    def ask_to_stop(self, reason: Stop) -> None:
        """Cancel the coroutine, or tell the thread. The first reason counts."""
        if self.stop is None:
            self.stop = reason
        # A task that has not begun would never run a line of its own when cancelled; it looks at `stop` first.
        if self.task is not None and self.started:
            self.task.cancel()

    async def run(self) -> Ack | None:
        """Run the job and say what became of it; None when its completion is already committed, or was fenced out.

        Raises nothing but what ends the process (KeyboardInterrupt, GeneratorExit).
        """
        if self.stop is Stop.SHUTDOWN:
            return self.ack("available", burned=False)
        if self.stop is Stop.CANCEL:
            return self.cancellation()
        self.started = time.monotonic()
        worker = workers.get(self.row.worker)
        token = running.set(self)
        if telemetry.listened("oban.job.start"):
            telemetry.execute("oban.job.start", **self._fields())
        ack: Ack | None
        state = "completed"
        error: BaseException | None = None
        around = Around(self._hooks if worker is None else self._hooks + worker.hooks)
        try:
            if worker is None:
                ack = self._give_back_unknown()
            elif self._is_too_late(worker):
                ack = self._final("cancelled", f"not started by its deadline, {worker.deadline:g} s after it was due")
            else:
                if around:
                    await around.before(self.job)
                value = await self._call(worker)
                if isinstance(value, Committed):
                    ack, state = None, value.state
                else:
                    ack = self.outcome(value, worker)
        except Fenced as fenced:
            telemetry.logger.warning("%s", fenced)
            telemetry.execute("oban.fenced", job_id=self.row.id, attempt=self.row.attempt, queue=self.row.queue)
            if around:
                await around.after(self.job, FENCED, fenced)
            self._tell(FENCED, None)
            return None
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as raised:  # SystemExit and CancelledError of the job's own are its failures
            error = raised
            ack = self._raised(raised, worker)
        finally:
            running.reset(token)
        if ack is not None:
            state = ack.state
        if around:
            await around.after(self.job, state, error)
        self._tell(state, error)
        return ack

    async def _call(self, worker: Worker) -> Any:
        row = self.row
        session: AsyncSession | Session | None = None
        if worker.arguments is None:
            call = _bound(worker.target().process, row.job)
        else:
            given = worker.arguments.load_json(row.args)
            for name, kind in worker.arguments.injected.items():
                if kind is Job:
                    given[name] = row.job
                else:
                    given[name] = session = session or self._sessions.open(kind)
            call = _bound(worker.target, **given)
        limit = worker.timeout_for(row.job if worker.arguments is None else None)
        timer = None if limit is None else self.timer(limit)
        try:
            if session is not None:
                value = await self._sessions.run(session, self, worker, lambda: self._execute(worker, call))
            else:
                value = await self._execute(worker, call)
        finally:
            if timer is not None:
                timer.cancel()
        if self.timed_out:
            raise self._timeout(worker)  # it swallowed the cancellation, or the thread came back too late
        return value

    def timer(self, limit: float) -> Timer:
        """Asks the run to stop after `limit` seconds."""
        return asyncio.get_running_loop().call_later(limit, self.ask_to_stop, Stop.TIMEOUT)

    async def _execute(self, worker: Worker, call: Callable[[], Any]) -> Any:
        if not worker.is_async:
            value = await self.in_thread(call)
            # It asked whether to stop, was told so, and has nothing to show: it stopped.
            stopped = self._told and value is None and self.stop is Stop.CANCEL
            return Cancel(CANCELLED_BY_REQUEST) if stopped else value
        result = call()
        return await result if inspect.isawaitable(result) else result

    async def in_thread(self, call: Callable[[], Any]) -> Any:
        """What `call` returns or raises in a thread. A thread can't be cancelled: this ends when it does."""
        future = self._threads.submit(call, contextvars.copy_context())
        self.thread_busy = True
        while not future.done():
            try:
                await asyncio.shield(future)
            except asyncio.CancelledError:
                if self.stop is None:
                    raise
        self.thread_busy = False
        returned, value = future.result()
        if returned:
            return value
        raise value

    @property
    def timed_out(self) -> bool:
        return self.stop is Stop.TIMEOUT

    def outcome(self, value: Any, worker: Worker) -> Ack:
        """The ack for what the worker returned.

        :raises InvalidArgs: for a recorded value that JSON can't carry.
        """
        match value:
            case Outcome():
                return self._decided(value)
            case _ if worker.recorded:
                return self._decided(Record(value))
            case _:
                return self.ack()

    def _decided(self, outcome: Outcome) -> Ack:
        match outcome:
            case Snooze():
                snoozed = self._count("snoozed")
                return self.ack("scheduled", delay=outcome.seconds, burned=False, meta=json.dumps({"snoozed": snoozed}))
            case Record():
                text = encode_value(outcome.value, "the recorded value")
                return self.ack(meta=f'{{"recorded":true,"return":{text}}}')
            case Cancel() | Discard():
                return self._final("cancelled" if isinstance(outcome, Cancel) else "discarded", outcome.reason)
            case _:
                raise InvalidOption(f"{type(outcome).__name__} is not a valid outcome of a job")

    def _raised(self, error: BaseException, worker: Worker | None) -> Ack:
        if isinstance(error, asyncio.CancelledError) and self.stop is Stop.SHUTDOWN:
            return self.ack("available", burned=False)
        if isinstance(error, asyncio.CancelledError) and self.stop is Stop.CANCEL:
            return self.cancellation()
        if isinstance(error, Outcome):
            try:
                return self._decided(error)
            except Exception as invalid:
                error = invalid
        if worker is not None and self.timed_out and not isinstance(error, JobTimeout):
            timeout = self._timeout(worker)
            timeout.__cause__ = error if not isinstance(error, asyncio.CancelledError) else None
            error = timeout
        message = _format(error)
        try:
            row = self.row
            delay = None if worker is None else worker.delay_for(lambda: row.job, row.attempt, row.max_attempts)
        except Exception as broken:
            delay = None
            message += f"\n\nThe worker's backoff raised too, so the default one is used:\n{_format(broken)}"
        return failure(self.ack(), message, delay)

    def ack(
        self,
        state: str = "completed",
        *,
        delay: float | None = None,
        burned: bool = True,
        error: str | None = None,
        meta: str | None = None,
    ) -> Ack:
        """An ack of this run."""
        row = self.row
        return Ack(
            row.id, row.attempt, self.producer, row.attempted_at,
            state, delay, burned, error, meta, row.queue, row.max_attempts,
        )  # fmt: skip

    def cancellation(self) -> Ack:
        """The ack of a run that somebody asked to end."""
        return self._final("cancelled", CANCELLED_BY_REQUEST)

    def _final(self, state: str, reason: str) -> Ack:
        return self.ack(state, error=error_entry(self.row.attempt, reason))

    def _give_back_unknown(self) -> Ack:
        """A worker of a newer or older version of the program: left to a node that knows it, with growing patience."""
        self.unknown = True
        times = self._count("unknown_worker")
        delay = min(FIRST_UNKNOWN_DELAY * 2 ** min(times - 1, 10), LONGEST_UNKNOWN_DELAY)
        meta = json.dumps({"unknown_worker": times})
        return self.ack("scheduled", delay=jittered(delay), burned=False, meta=meta)

    def _count(self, key: str) -> int:
        before = self.row.meta_object.get(key)
        return (before if isinstance(before, int) else 0) + 1

    def _is_too_late(self, worker: Worker) -> bool:
        if worker.deadline is None:
            return False
        late = self.row.attempted_at - self.row.scheduled_at
        return late.total_seconds() > worker.deadline

    def _timeout(self, worker: Worker) -> JobTimeout:
        return JobTimeout(f"{worker.name}: ran longer than its timeout of {worker.timeout or 0:g} s")

    def _fields(self) -> dict[str, Any]:
        row = self.row
        return {
            "job_id": row.id,
            "worker": row.worker,
            "queue": row.queue,
            "attempt": row.attempt,
            "max_attempts": row.max_attempts,
            "node": row.attempted_by[0],
        }

    def _tell(self, state: str, error: BaseException | None) -> None:
        failed = error is not None and state in ("retryable", "discarded") and not isinstance(error, Outcome)
        if failed:
            telemetry.logger.warning(
                "job %d (%s) failed in attempt %d of %d and is %s",
                self.row.id, self.row.worker, self.row.attempt, self.row.max_attempts, state,
            )  # fmt: skip
        event = "oban.job.exception" if failed else "oban.job.stop"
        if telemetry.listened(event):
            fields = self._fields() | {
                "state": state,
                "duration": time.monotonic() - self.started,
                "queue_time": (self.row.attempted_at - self.row.scheduled_at).total_seconds(),
            }
            telemetry.execute(event, **fields, **({"error": error} if failed else {}))


def _bound(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Callable[[], Any]:
    return lambda: fn(*args, **kwargs)


def _format(error: BaseException) -> str:
    """The traceback as text, from the job's own code on; always some text, whatever the exception does."""
    try:
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None and "oban_sqla" in trace.tb_frame.f_code.co_filename:
            trace = trace.tb_next
        return "".join(traceback.format_exception(type(error), error, trace)).rstrip()
    except BaseException as broken:
        return f"{type(error).__name__} (its traceback could not be formatted: {type(broken).__name__})"
