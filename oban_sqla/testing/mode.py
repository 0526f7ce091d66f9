"""Whether enqueued jobs run at once in a test."""

from __future__ import annotations

from typing import Literal

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from ..enqueueing.unit_of_work import Watcher, watcher
from ..errors import InvalidOption
from ..options.job_logs import JobLogs, checked_job_logs
from .drain import Choice, Drainer
from .sessions import connection_of

Name = Literal["inline", "manual"]


def mode(name: Name, *, with_safety: bool = True, job_logs: JobLogs | None = None) -> Mode:
    """Choose, for a block, whether enqueued jobs run: ``with mode("inline"): …``.

    ``"manual"`` is the behaviour outside of any block: jobs are inserted and do not run. With ``"inline"`` a job runs
    right after the flush that wrote it, as :func:`drain` would run it: in a savepoint on the same connection. Jobs that
    it enqueues run after it. A job that is not due stays scheduled, and one that fails or snoozes waits for a
    :func:`drain`.

    ::

        async with mode("inline"):
            await client.post("/sign-up", json={"email": "ann@example.com"})
        assert mailbox == ["ann@example.com"]

    :param name: ``"inline"`` or ``"manual"``.
    :param with_safety: True, the default: an exception of a job is recorded in the job, as in production. False: the
        flush raises it too.
    :param job_logs: keep what the jobs log, as ``Oban(job_logs=…)`` does. Default: no logs.
    :returns: a context manager, for ``with`` and ``async with``. At its end the previous mode is restored.
    :raises InvalidOption: for another name, or job_logs that are not :class:`JobLogs`.

    The mode is held in a context variable: it applies to the block, to the tasks that it starts and to what it runs
    with ``asyncio.to_thread``, and never to another test that runs at the same time.

    The jobs run inside ``session.flush()``. They have other sessions, and can't flush the session that is being
    flushed. Idea and names: Oban's testing modes.
    """
    if name not in ("inline", "manual"):
        raise InvalidOption(f"mode: expected 'inline' or 'manual', got {name!r}")
    job_logs = checked_job_logs(job_logs, "mode")
    return Mode(Inline(with_safety, job_logs) if name == "inline" else None)


class Mode:
    """The block in which a mode holds. May be entered again."""

    def __init__(self, watching: Watcher | None) -> None:
        self._watching = watching
        self._before: list[Watcher | None] = []

    def __enter__(self) -> None:
        self._before.append(watcher.get())
        watcher.set(self._watching)

    def __exit__(self, *_: object) -> None:
        # Set, not reset by a token: a fixture may be torn down in another context than it was set up in.
        watcher.set(self._before.pop())

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        self.__exit__()


class Inline:
    """Runs what was written. On each connection one job after the other, from whichever session they come."""

    def __init__(self, with_safety: bool, job_logs: JobLogs | None) -> None:
        self._with_safety = with_safety
        self._job_logs = job_logs
        self._running: dict[Connection, list[int]] = {}

    def __call__(self, session: Session, ids: list[int]) -> None:
        connection = connection_of(session)
        if connection in self._running:
            self._running[connection].extend(ids)
            return
        self._running[connection] = ids
        try:
            drainer = Drainer(session, self._with_safety, self._job_logs)
            while drainer.run_next(Choice(among=ids)):
                pass
        finally:
            del self._running[connection]
