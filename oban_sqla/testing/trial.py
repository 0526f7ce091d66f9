"""One run of a job in the test itself: on its event loop, or in its thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy.util import await_only

from ..errors import InvalidOption, ObanError
from ..runtime.acks import Ack
from ..runtime.chunk_attempt import ChunkAttempt, attempt_of
from ..runtime.durable.store import Store
from ..runtime.executors.call import Call, Result
from ..runtime.executors.executor import Executor, Executors, Timer
from ..runtime.executors.inline import Inline
from ..runtime.executors.loop import OnLoop
from ..runtime.host import Host
from ..runtime.journal.journal import APART, Journals
from ..runtime.row import Row
from ..runtime.sessions import Sessions
from ..runtime.verdict import Stop
from ..workers.registry import workers
from ..workers.running_loop import running_loop
from .resources import OfTest
from .sessions import Joined


class Trial:
    """A run of the job in `row` as the runtime's, except that a plain function runs in the calling thread.

    :param more: jobs that run together with it, in one call.
    :param groups: its batch and workflow by their classes, as far as it asks for them. Default: none.
    :param journals: opens the journal of what it tells. Default: that stays in memory, without its log.

    :ivar attempt: the run itself.
    :ivar error: what the worker raised, or what made the run a failure; None for a run that ended well,
        or whose job another run has.
    """

    def __init__(
        self,
        row: Row,
        sessions: Sessions,
        store: Store,
        more: Sequence[Row] = (),
        groups: Mapping[Any, object] | None = None,
        journals: Journals = APART,
    ) -> None:
        self._sessions = sessions
        self._resources = OfTest(groups)
        self.worker = worker = workers.get(row.worker)
        self._seen = _Seen(OnLoop() if worker is not None and worker.is_async else Inline())
        self.row = row
        # In place, whichever executor it names.
        executors: Executors = {} if worker is None else {worker.executor: self._seen}
        host = Host(executors, sessions, resources=self._resources, journals=journals, store=store)
        self.attempt = attempt_of(host, row)
        if isinstance(self.attempt, ChunkAttempt):
            self.attempt.rows += more
        self.error: BaseException | None = None
        self._ack: Ack | None = None

    @property
    def rows(self) -> Sequence[Row]:
        """The jobs of the call: those of a chunk, or the one."""
        return self.attempt.taken

    @property
    def refused(self) -> InvalidOption | None:
        """What the test did not provide: its mistake, and not a failure of the job. Else None."""
        of_session = self._sessions.refused if isinstance(self._sessions, Joined) else None
        return of_session or self._resources.refused

    @property
    def acks(self) -> list[Ack]:
        """What is to be acknowledged when it has ended: of each job of a chunk."""
        if self.attempt.committed:
            return []
        if isinstance(self.attempt, ChunkAttempt):
            return [ack for _, ack in self.attempt.outcomes if ack is not None]
        return [] if self._ack is None else [self._ack]

    @property
    def result(self) -> Result | None:
        """What came of the worker's call; None when it was not called."""
        return self._seen.result

    def run_here(self, on_loop: bool) -> Ack | None:
        """Run to the end, and say what is to be acknowledged; None when it was, or when another run has the job.

        :param on_loop: whether this is code that an event loop waits for, inside of `run_sync`.
        """
        if self.worker is None or not self.worker.is_async:
            return self.run_plain()
        if on_loop:
            return await_only(self.run_on_loop())
        if running_loop() is not None:
            raise ObanError(
                f"the coroutine {self.row.worker} can't run for a Session inside of a running event loop; "
                "use an AsyncSession in this test, or make the test a plain function"
            )
        return asyncio.run(self.run_on_loop())

    async def run_on_loop(self) -> Ack | None:
        """The run of a coroutine, as a separate task, so that its timeout cancels nothing else."""
        self.attempt.task = task = asyncio.ensure_future(self.attempt.run())
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError:  # the test is being cancelled, not the job
            self.attempt.ask_to_stop(Stop.SHUTDOWN)
            await asyncio.wait((task,))
            raise
        return self._ended(*task.result())

    def run_plain(self) -> Ack | None:
        """The run of a plain function. Nothing in it waits for a loop, so none is needed."""
        if isinstance(self._sessions, Joined):
            self._sessions.on_loop = False
        try:
            self.attempt.run().send(None)
        except StopIteration as end:
            return self._ended(*end.value)
        raise ObanError(f"{self.row.worker}: a plain function waited for an event loop")

    def _ended(self, ack: Ack | None, error: BaseException | None) -> Ack | None:
        self.error = None if ack is None else error
        self._ack = ack
        return None if self.attempt.committed else ack


class _Seen:
    """Runs calls where `executor` does, and keeps the last result."""

    def __init__(self, executor: Executor) -> None:
        self.interruptible = executor.interruptible
        self.result: Result | None = None
        self._executor = executor

    async def run(self, call: Call) -> Result:
        self.result = await self._executor.run(call)
        return self.result

    def after(self, seconds: float, fn: Callable[..., object], *args: Any) -> Timer:
        return self._executor.after(seconds, fn, *args)
