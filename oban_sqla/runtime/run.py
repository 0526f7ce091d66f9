"""The run of a call, and of its session, to a verdict: in a node, in a child process, on another machine."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from ..errors import Fenced, ObanError
from ..models import Job
from ..models.asked import Asked
from ..telemetry import job_logger as logger
from ..workers.closing import current, passes
from ..workers.context import SlotsLike
from ..workers.injection import is_session
from ..workers.worker import Worker
from .acks import Ack
from .durable.ledger import Ledger
from .executors.call import Call, Raised, Result, Returned
from .executors.loop import awaited
from .host import Host
from .instances import flushed, load_instances
from .journal.journal import Journal
from .resources import Closing
from .row import Row
from .verdict import Stop, as_returned, judge, keeps_effects

T = TypeVar("T")
_OPENING = threading.Lock()


class Run:
    """One call of the worker of `row`, with the session that it asks for.

    :param row: the job as it was fetched.
    :param host: what carries it out.
    """

    # Defaults of the class, so that a run costs less to make. What is written later, and by what:
    task: asyncio.Task[Any] | None = None
    """In which it runs. Written by what makes a task of the run, which need not be one."""
    session: AsyncSession | Session | None = None
    """The session that it has, while it has one. Written by `_run_in_session`."""
    slots: SlotsLike | None = None
    """Where it counts as running; None outside of a node. Written by what starts it."""
    deadline: float | None = None
    """When it times out, in monotonic seconds; None for never. Written by `_run_call`."""
    committed = False
    """Whether the job's own transaction has written the ack. Written by `_run_in_session` and `_graft`."""
    opened: Journal | None = None
    """The journal, once the run has told something. Written by `journal`."""
    _ledger: Ledger | None = None
    """Made when the job first asks. Written by `ledger`."""
    _interruptible = True
    """False while the call runs where no cancellation reaches it. Written by `_run_call`."""

    def __init__(self, row: Row, host: Host) -> None:
        # Given, and never written again.
        self.row = row
        self.host = host
        self.journals = host.journals  # each record that is logged asks for them
        # Whether it is to stop, and whether the job knows.
        self.asked: Asked[Stop] = Asked()

    @property
    def job(self) -> Job:
        return self.row.job

    @property
    def journal(self) -> Journal:
        """What the run tells beside its outcome. May be asked for by any thread of the job."""
        if self.opened is None:
            with _OPENING:
                if self.opened is None:
                    self.opened = self.journals.open(self.row)
        return self.opened

    @property
    def tells(self) -> bool:
        """Whether it has told anything."""
        return self.opened is not None

    async def end_journal(self) -> None:
        """Write what the run has told, before its outcome is written: who sees that sees all the rest."""
        if (journal := self.opened) is not None and not journal.is_closed:
            await self.journals.close(journal)

    def ledger(self) -> Ledger:
        """What the run knows of the job's steps.

        :raises ObanError: where none can be kept.
        """
        if self.host.store is None:
            raise ObanError(
                "steps, sleeps and waits need the node that runs the job, and here is none: jobs of an executor "
                "outside of the node can't use them; run this job in a coroutine, a thread or a child process"
            )
        if self._ledger is None:
            with _OPENING:  # threads of a job may ask at once, and have to find the same one
                if self._ledger is None:
                    self._ledger = Ledger(self, self.host.store, self.host.sessions)
        return self._ledger

    @property
    def stop(self) -> Stop | None:
        """The first reason to stop: written by ask_to_stop()."""
        return self.asked.reason

    @stop.setter
    def stop(self, reason: Stop | None) -> None:
        self.asked.reason = reason

    def cancelled(self) -> bool:
        return self.asked.look()

    def ask_to_stop(self, reason: Stop) -> None:
        """Cancel what can be cancelled, and tell the rest. The first reason counts."""
        if self.stop is None:
            self.stop = reason
        if self.task is not None and self._interruptible:
            self.task.cancel()

    def carry_out(self, call: Call) -> Coroutine[Any, Any, tuple[Ack | None, BaseException | None]]:
        """Run `call` and say what becomes of the job: without an ack where another run has the job."""
        return self._run_with(call, asked) if (asked := call.asked) else self._run_alone(call)

    async def _run_alone(self, call: Call) -> tuple[Ack | None, BaseException | None]:
        ack, error = judge(self.row, call.worker, await self._run_call(call), self.asked.reason, self.asked.told)
        return (ack, error) if ack.graft is None else await self._graft(ack, error)

    async def _graft(self, ack: Ack, error: BaseException | None) -> tuple[Ack | None, BaseException | None]:
        try:
            self.committed = await self.host.sessions.graft(ack)
        except Fenced as fenced:
            return None, fenced
        return ack, error

    async def separately(self, work: Callable[[Session], T]) -> T:
        """Do `work` in a short separate transaction, on the database of the job."""
        return await self.host.sessions.separately(work)

    async def _run_with(self, call: Call, asked: Mapping[str, Any]) -> tuple[Ack | None, BaseException | None]:
        """Run `call` with what it asks for: a session, and objects that are there before it and go after it."""
        sessions = [name for name, kind in asked.items() if is_session(kind)]
        others = {name: kind for name, kind in asked.items() if name not in sessions}
        close = None
        if others:
            call.injected, close = await self._open(call.worker, others)
        run = self._run_in_session(call, sessions[0], asked[sessions[0]]) if sessions else self._run_alone(call)
        if close is None:
            return await run
        error: BaseException | None = None
        try:
            ack, error = await run
            return ack, error
        except BaseException as raised:
            error = raised
            raise
        finally:
            if self._interruptible:  # else the call still uses them
                await close(error)

    async def _open(self, worker: Worker, asked: Mapping[str, Any]) -> tuple[dict[str, object], Closing | None]:
        limit = self._limit(worker)
        timer = (
            None if limit is None else self.host.executors[worker.executor].after(limit, self.ask_to_stop, Stop.TIMEOUT)
        )
        try:
            return await self.host.resources.open(self.row, asked)
        finally:
            if timer is not None:
                timer.cancel()

    def _limit(self, worker: Worker) -> float | None:
        return worker.timeout if worker.arguments is not None else worker.timeout_for(self.row.job)

    async def _run_call(self, call: Call) -> Result:
        worker = call.worker
        executor = self.host.executors[worker.executor]
        limit = self._limit(worker)
        if limit is not None:
            self.deadline = time.monotonic() + limit
        timer = None if limit is None else executor.after(limit, self.ask_to_stop, Stop.TIMEOUT)
        try:
            if worker.entities and (instead := await self._load(call)) is not None:
                return instead
            self._interruptible = executor.interruptible
            result = await executor.run(call)
            self._interruptible = True
            if isinstance(result, Returned) and result.value is not None and inspect.isawaitable(result.value):
                result = await self._awaited(result.value)
        finally:
            if timer is not None:
                timer.cancel()
        if self._ledger is not None:
            result = self._ledger.end(result)
        if self.opened is not None:
            await self.end_journal()
        return result

    async def _load(self, call: Call) -> Result | None:
        """Load the instances among the arguments of `call`; what comes of the job where it is not to be called then."""
        missing = await load_instances(call, self.host.sessions)
        # A thread that loads can't be cancelled, so the run may have been asked to stop meanwhile.
        return missing if self.stop is None else Raised(asyncio.CancelledError())

    async def _awaited(self, value: Awaitable[Any]) -> Result:
        """What comes of an awaitable that a plain function has returned: its body runs here, not where the call did."""
        if self.stop is None:
            return await awaited(value)
        if inspect.iscoroutine(value):
            value.close()
        return Raised(asyncio.CancelledError())

    async def _run_in_session(self, call: Call, name: str, kind: type) -> tuple[Ack | None, BaseException | None]:
        session = await self.host.sessions.open(kind)
        self.session = session
        call.injected = {**call.injected, name: session}
        try:
            result = await flushed(as_returned(await self._run_call(call)), call, self.host.sessions, session)
            ack, error = judge(self.row, call.worker, result, self.asked.reason, self.asked.told)
            if keeps_effects(ack):
                try:
                    await self.host.sessions.complete(session, ack)
                except Fenced as fenced:
                    return None, fenced
                self.committed = True
            return ack, error
        finally:
            if self._interruptible:  # else the call still uses it
                await self._close(session)

    async def _close(self, session: AsyncSession | Session) -> None:
        task = current()
        try:
            await self.host.sessions.close(session)
        except BaseException as error:  # the verdict stands, whatever becomes of the connection
            if passes(error, task):
                raise
            row = self.row
            logger.warning("job %d: closing its session failed: %s", row.id, type(error).__name__, extra=row.log_extra)
