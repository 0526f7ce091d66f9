"""What an executor outside the node has to be able to do; a user may write one."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, Protocol


class Executor(Protocol):
    """Runs jobs outside the node: ``Oban(…, executors={"gpu": MyExecutor()})`` and ``@job(executor="gpu")``.

    It sends bytes to another process. That process calls :func:`oban_sqla.executors.perform` with them, which never
    raises, and sends back the bytes that `perform` returns.
    """

    async def start(self, workers: Sequence[str]) -> None:
        """Prepare for jobs. ``Oban.start()`` calls this, and fails with what it raises.

        :param workers: the modules in which this process has registered the workers that name the executor.
        """
        ...

    def submit(self, payload: bytes) -> Awaitable[bytes]:
        """Run a call.

        :param payload: what ``perform`` takes at the other end.
        :returns: the run: awaiting it gives what ``perform`` returned there, or raises :class:`ChildDied` with a reason
            when the run is lost. An attribute ``begun``, an awaitable, says when the run begins; without it a run
            begins when it is submitted.
        """
        ...

    async def kill(self, run: Any) -> bool:
        """End a run.

        :param run: what ``submit`` has returned.
        :returns: whether it is certain that the call has ended, or ends soon. False: the call may go on, and the node
            waits for its end, as it does for threads.
        """
        ...

    async def stop(self) -> None:
        """Release everything. Called when the runtime stops, after its jobs have ended. What it raises is logged."""
        ...
