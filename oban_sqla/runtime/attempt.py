"""One run of one job in its node: from the row that was fetched to the verdict on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ..errors import Fenced
from ..options.encryption import in_use
from ..workers import spreading  # noqa: F401  # pyright: ignore[reportUnusedImport]  # it registers the worker of maps
from ..workers.closing import passes
from ..workers.context import running
from ..workers.hooks import Around
from ..workers.registry import workers
from ..workers.sealing import opened_args
from .acks import Ack
from .durable.store import Store
from .executors.call import Call, Judged, Raised
from .executors.executor import Executors, Remote, Remotes, Timer
from .journal.journal import APART, Journals
from .report import FENCED, report_end, report_fenced, report_start, report_unknown, report_unopened
from .resources import NONE, Provider
from .row import Row
from .run import Run
from .sessions import Sessions
from .verdict import Stop, is_unopened, judge, overdue, unknown_worker, unstarted

NO_REMOTES: Remotes = {}


class Attempt(Run):
    """A run of the job in `row`, here or elsewhere, with its hooks and what telemetry is told of it.

    :param row: the job as it was fetched.
    :param executors: where it may run in this process, by the name that its worker asks for.
    :param sessions: opens and ends the session of a job that asks for one and runs here.
    :param resources: gives a job that runs here what else it asks for.
    :param hooks: run around it, outside the worker's own.
    :param remotes: where it may run outside this process, by the name that its worker asks for.
    :param log_exceptions: whether the log has what the job raised, with its traceback, or only its type.
    :param journals: opens the journal of a run that tells something. Default: what it tells stays in memory.
    :param store: where the steps of the job are kept; None where none can be.
    :param measure: is told of the end of each run, with its outcome and beginning. Default: nothing is.
    """

    __slots__ = (
        "_around", "_hooks", "_is_left", "_log_exceptions", "_measure", "_places", "_remotes", "begun", "started",
        "unknown",
    )  # fmt: skip

    def __init__(
        self,
        *,
        row: Row,
        executors: Executors,
        sessions: Sessions,
        resources: Provider = NONE,
        hooks: tuple[object, ...] = (),
        remotes: Remotes = NO_REMOTES,
        log_exceptions: bool = True,
        journals: Journals = APART,
        store: Store | None = None,
        measure: Callable[[Row, Ack, float], None] | None = None,
    ) -> None:
        super().__init__(
            row=row, executors=executors, sessions=sessions, resources=resources, journals=journals, store=store
        )
        # Whether it ended because this process does not know the worker: written by _run().
        self.unknown = False
        # Monotonic seconds, 0 before: written by run().
        self.started = 0.0
        # False while it waits for a child: written by _run() and _begin().
        self.begun = True
        # How many calls its remote runs at once: written by _run().
        self._places = 0
        # Its hooks, if it has any: written by _run().
        self._around: Around | None = None
        # Whether it is left to a node that has the key: written by _run().
        self._is_left = False
        # Given, and never written again.
        self._hooks = hooks
        self._log_exceptions = log_exceptions
        self._remotes = remotes
        self._measure = measure

    @property
    def places(self) -> int:
        """How many children there are, for a run that waits for one; else 0."""
        return 0 if self.begun else self._places

    @property
    def taken(self) -> Sequence[Row]:
        """The jobs that it runs, as they were fetched."""
        return [self.row]

    def ask_to_stop(self, reason: Stop) -> None:
        """Cancel what can be cancelled, and tell the rest. The first reason counts."""
        if self.stop is None:
            self.stop = reason
        # A task that is cancelled before it begins runs none of its code; run() looks at `stop` first.
        if self.started:
            super().ask_to_stop(reason)

    async def run(self) -> tuple[Ack | None, BaseException | None]:
        """Run the job and say what becomes of it: a :data:`Verdict`, without an ack where another run has the job.

        Raises only KeyboardInterrupt, and what ends its task with the event loop: that it is closed, or that it is
        cancelled while the call goes on in a thread.
        """
        row = self.row
        if (stop := self.asked.reason) is not None:
            return unstarted(row, stop), None
        self.started = time.monotonic()
        token = running.set(self)
        try:
            ack, error = await self._run(row)
        finally:
            running.reset(token)
        if self._journal is not None:
            await self.end_journal()  # of a run whose hook or session has failed
        if (around := self._around) is not None and around.is_entered:
            await around.after(row.job, FENCED if ack is None else ack.state, error)
        if self.begun:
            report_end(row, ack, error, self.started, self._log_exceptions, self.unknown or self._is_left)
            if self._measure is not None and ack is not None:
                self._measure(row, ack, self.started)
        return ack, error

    async def _run(self, row: Row) -> tuple[Ack | None, BaseException | None]:
        worker = workers.get(row.worker)
        remote = None if worker is None or not self._remotes else self._remotes.get(worker.executor)
        if remote is None:
            report_start(row)
        else:
            self.begun, self._places = False, remote.places
        if worker is None or (remote is None and worker.executor not in self._executors):
            self.unknown = True  # the worker, or the executor that it names
            executor = None if worker is None else worker.executor
            report_unknown(row, executor)
            return unknown_worker(row, executor), None
        if (late := overdue(row, worker)) is not None:
            return late, None
        try:
            # Before the hooks, as for an unknown worker. Elsewhere there may be keys that are not here.
            if worker.encrypted and (remote is None or in_use() is not None):
                opened_args(row.worker, row.args)
            if hooks := self._hooks + worker.hooks:
                self._around = Around(hooks)
                await self._around.before(row.job)
            call = Call(worker, row)
            ack, error = await (self.carry_out(call) if remote is None else self._run_remotely(call, remote))
        except BaseException as raised:  # by a hook or the session, or because the call could not begin
            # Not interruptible: the event loop ends, and the call goes on elsewhere; how it ends is not known.
            if passes(raised, self.task) or not self._interruptible:
                raise
            ack, error = judge(row, worker, Raised(raised), self.stop)
        if isinstance(error, Fenced):
            report_fenced(row, error)
        if ack is not None and worker.encrypted and is_unopened(ack):
            self._is_left = True
            report_unopened(row)
        return ack, error

    async def _run_remotely(self, call: Call, remote: Remote) -> tuple[Ack | None, BaseException | None]:
        """Run `call` outside this process. Its timeout counts from when it begins there."""
        worker = call.worker
        timers: list[Timer] = []

        def begin() -> None:
            self._begin()
            if (limit := self._limit(worker)) is not None:
                timers.append(remote.after(limit, self.ask_to_stop, Stop.TIMEOUT))

        try:
            result = await remote.run(call, self, begin)
        finally:
            for timer in timers:
                timer.cancel()
        await self.end_journal()
        if isinstance(result, Judged):
            self.committed = result.committed
            return result.ack, result.error
        return judge(self.row, worker, result, self.asked.reason, self.asked.told)

    def _begin(self) -> None:
        self.begun = True
        self.started = time.monotonic()
        report_start(self.row)
