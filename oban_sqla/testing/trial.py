"""One run of a job in the test itself: on its event loop, or in its thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from sqlalchemy.util import await_only

from ..errors import InvalidArgs, JobTimeout, ObanError
from ..runtime.acks import Ack
from ..runtime.attempt import Attempt, Stop, Timer
from ..runtime.executors.thread import Threads
from ..runtime.row import Row
from ..runtime.sessions import Sessions
from ..workers.outcomes import Outcome
from ..workers.registry import workers
from ..workers.worker import Worker

_threads = Threads("oban-sqla-testing")  # starts none: a trial's functions stay in the calling thread


class Trial(Attempt):
    """A run of the job in `row` as the runtime's, except that a plain function runs in the calling thread.

    :ivar returned: what the worker returned.
    :ivar error: what it raised, or what made the run a failure after that; None for a run that ended well.
    """

    def __init__(self, row: Row, sessions: Sessions) -> None:
        super().__init__(row, row.attempted_by[1], _threads, sessions)
        self.returned: Any = None
        self.error: BaseException | None = None
        self.worker = workers.get(row.worker)

    def run_here(self, on_loop: bool) -> Ack | None:
        """Run to the end, and say what is to be acknowledged.

        :param on_loop: whether this is code that an event loop waits for, inside of `run_sync`.
        """
        if not self.is_async:
            return self.run_plain()
        if on_loop:
            return await_only(self.run_on_loop())
        if _loop_is_running():
            raise ObanError(
                f"the coroutine {self.row.worker} can't run for a Session inside of a running event loop; "
                "use an AsyncSession in this test, or make the test a plain function"
            )
        return asyncio.run(self.run_on_loop())

    @property
    def is_async(self) -> bool:
        return self.worker is not None and self.worker.is_async

    async def run_on_loop(self) -> Ack | None:
        """The run of a coroutine, as a task of its own, so that its timeout cancels nothing else."""
        self.task = task = asyncio.ensure_future(self._noting())
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError:  # the test is being cancelled, not the job
            self.ask_to_stop(Stop.SHUTDOWN)
            await asyncio.wait((task,))
            raise
        task.result()
        return self._ack

    def run_plain(self) -> Ack | None:
        """The run of a plain function. Nothing in it waits for a loop, so none is needed."""
        try:
            self.run().send(None)
        except StopIteration as end:
            ack: Ack | None = end.value
            return ack
        raise ObanError(f"{self.row.worker}: a plain function waited for an event loop")

    async def _noting(self) -> None:
        self._ack = await self.run()

    async def in_thread(self, call: Callable[[], Any]) -> Any:
        return call()

    def timer(self, limit: float) -> Timer:
        if self.is_async:
            return super().timer(limit)
        timer = threading.Timer(limit, self.ask_to_stop, (Stop.TIMEOUT,))
        timer.daemon = True
        timer.start()
        return timer

    def outcome(self, value: Any, worker: Worker) -> Ack:
        self.returned = value
        return super().outcome(value, worker)

    def _raised(self, error: BaseException, worker: Worker | None) -> Ack:
        self.error = error
        return super()._raised(error, worker)

    def _timeout(self, worker: Worker) -> JobTimeout:
        self.error = error = super()._timeout(worker)
        return error

    def _decided(self, outcome: Outcome) -> Ack:
        try:
            return super()._decided(outcome)
        except InvalidArgs as invalid:
            self.error = invalid
            raise


def _loop_is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
