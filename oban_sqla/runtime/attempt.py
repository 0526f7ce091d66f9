"""One run of one job: from the row that was fetched to the verdict on it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from ..errors import Fenced
from ..models import Job
from ..telemetry import logger
from ..workers.context import running
from ..workers.hooks import Around
from ..workers.registry import workers
from .acks import Ack
from .executors.call import ENDS_PROCESS, Call, Raised, Result
from .executors.executor import Executors
from .report import FENCED, report_end, report_fenced, report_start
from .row import Row
from .sessions import Sessions
from .verdict import Stop, as_returned, judge, keeps_effects, overdue, unknown_worker, unstarted


class Attempt:
    """A run of the job in `row`.

    :param row: the job as it was fetched.
    :param executors: where it may run, by the name that its worker asks for.
    :param sessions: opens and ends the session of a job that asks for one.
    :param hooks: run around it, outside the worker's own.
    """

    __slots__ = (
        "_executors", "_hooks", "_interruptible", "_sessions", "_told",
        "committed", "row", "started", "stop", "task", "unknown",
    )  # fmt: skip

    def __init__(self, *, row: Row, executors: Executors, sessions: Sessions, hooks: tuple[object, ...] = ()) -> None:
        self.row = row
        # Whether it ended because this process does not know the worker: written by run().
        self.unknown = False
        # Written by the caller that makes a task of run(), which need not be one.
        self.task: asyncio.Task[Any] | None = None
        # The first reason to stop: written by ask_to_stop().
        self.stop: Stop | None = None
        # Monotonic seconds, 0 before: written by run().
        self.started = 0.0
        # Whether the job's own transaction has written the ack: written by _run_in_session().
        self.committed = False
        # Given, and never written again.
        self._executors = executors
        self._sessions = sessions
        self._hooks = hooks
        # Whether the job knows that it is to stop: written by cancelled(), in the job's thread.
        self._told = False
        # False while the call runs where no cancellation reaches it: written by _run_call().
        self._interruptible = True

    @property
    def job(self) -> Job:
        return self.row.job

    def cancelled(self) -> bool:
        self._told = self.stop is not None
        return self._told

    def ask_to_stop(self, reason: Stop) -> None:
        """Cancel what can be cancelled, and tell the rest. The first reason counts."""
        if self.stop is None:
            self.stop = reason
        # A task that is cancelled before it begins runs none of its code; run() looks at `stop` first.
        if self.task is not None and self.started and self._interruptible:
            self.task.cancel()

    async def run(self) -> tuple[Ack | None, BaseException | None]:
        """Run the job and say what becomes of it: a :data:`Verdict`, without an ack where another run has the job.

        Raises only what ends the process (KeyboardInterrupt, GeneratorExit), and a cancellation by the end of the event
        loop while the call goes on in a thread.
        """
        row = self.row
        if self.stop is not None:
            return unstarted(row, self.stop), None
        self.started = time.monotonic()
        worker = workers.get(row.worker)
        ack: Ack | None = None
        error: BaseException | None = None
        around: Around | None = None
        token = running.set(self)
        try:
            report_start(row)
            if worker is None:
                self.unknown = True
                ack = unknown_worker(row)
            elif worker.deadline is None or (ack := overdue(row, worker)) is None:
                try:
                    if hooks := self._hooks + worker.hooks:
                        around = Around(hooks)
                        await around.before(row.job)
                    call = Call(worker, row)
                    if asked := call.asked:
                        ack, error = await self._run_in_session(call, asked)
                    else:
                        ack, error = judge(row, worker, await self._run_call(call), self.stop, self._told)
                except ENDS_PROCESS:
                    raise
                except BaseException as raised:  # by a hook or the session, or because the call could not begin
                    if not self._interruptible:
                        raise  # the event loop ends, and the call goes on elsewhere: what becomes of it is not known
                    ack, error = judge(row, worker, Raised(raised), self.stop)
        finally:
            running.reset(token)
        state = FENCED if ack is None else ack.state
        if around is not None:
            await around.after(row.job, state, error)
        report_end(row, state, error, self.started)
        return ack, error

    async def _run_call(self, call: Call) -> Result:
        worker = call.worker
        executor = self._executors[worker.executor]
        limit = worker.timeout if worker.arguments is not None else worker.timeout_for(self.row.job)
        timer = None if limit is None else executor.after(limit, self.ask_to_stop, Stop.TIMEOUT)
        self._interruptible = executor.interruptible
        try:
            result = await executor.run(call)
        finally:
            if timer is not None:
                timer.cancel()
        self._interruptible = True
        return result

    async def _run_in_session(self, call: Call, asked: Mapping[str, type]) -> tuple[Ack | None, BaseException | None]:
        session = await self._sessions.open(next(iter(asked.values())))
        call.injected = dict.fromkeys(asked, session)
        try:
            result = as_returned(await self._run_call(call))
            ack, error = judge(self.row, call.worker, result, self.stop, self._told)
            if keeps_effects(ack):
                try:
                    await self._sessions.complete(session, ack)
                except Fenced as fenced:
                    report_fenced(self.row, fenced)
                    return None, fenced
                self.committed = True
            return ack, error
        finally:
            if self._interruptible:  # else the call still uses it
                await self._close(session)

    async def _close(self, session: AsyncSession | Session) -> None:
        try:
            await self._sessions.close(session)
        except Exception as error:  # the verdict stands, whatever becomes of the connection
            logger.warning("job %d: closing its session failed: %s", self.row.id, type(error).__name__)
