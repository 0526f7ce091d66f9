"""One run of one job in its node: from the row that was fetched to the verdict on it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..errors import Fenced
from ..options.encryption import in_use
from ..workers import spreading  # noqa: F401  # pyright: ignore[reportUnusedImport]  # it registers the worker of maps
from ..workers.closing import passes
from ..workers.context import running
from ..workers.hooks import Around
from ..workers.registry import workers
from ..workers.sealing import opened_args
from .acks import Ack
from .executors.call import Call, Judged, Raised
from .executors.executor import Remote, Timer
from .report import FENCED, report_end, report_fenced, report_start, report_unknown, report_unopened
from .row import Row
from .run import Run
from .verdict import Stop, is_unopened, judge, overdue, unknown_worker, unstarted


class Attempt(Run):
    """A run of the job in `row`, here or elsewhere, with its hooks and what telemetry is told of it.

    :param row: the job as it was fetched.
    :param host: what carries it out.
    """

    started = 0.0
    """Monotonic seconds, 0 before. Written by `run` and `_begin`."""
    begun = True
    """False while it waits for a child. Written by `_run` and `_begin`."""
    unknown = False
    """Whether it ended because this process does not know the worker. Written by `_run`."""
    _places = 0
    """How many calls its remote runs at once. Written by `_run`."""
    _around: Around | None = None
    """Its hooks, if it has any. Written by `_run`."""
    _is_left = False
    """Whether it is left to a node that has the key. Written by `_run`."""

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
        if self.opened is not None:
            await self.end_journal()  # of a run whose hook or session has failed
        if (around := self._around) is not None and around.is_entered:
            await around.after(row.job, FENCED if ack is None else ack.state, error)
        if self.begun:
            report_end(row, ack, error, self.started, self.host.log_exceptions, self.unknown or self._is_left)
            if self.host.measure is not None and ack is not None:
                self.host.measure(row, ack, self.started)
        return ack, error

    async def _run(self, row: Row) -> tuple[Ack | None, BaseException | None]:
        worker = workers.get(row.worker)
        remote = None if worker is None or not self.host.remotes else self.host.remotes.get(worker.executor)
        if remote is None:
            report_start(row)
        else:
            self.begun, self._places = False, remote.places
        if worker is None or (remote is None and worker.executor not in self.host.executors):
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
            if hooks := self.host.hooks + worker.hooks:
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
