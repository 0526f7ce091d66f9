"""The session of a job that asks for one: its commit also completes the job.

The completion is the last statement of the job's own transaction, fenced like every ack, so the effects of the job on
the database happen exactly once, at no extra commit. (River's JobCompleteTx and DBOS's transactional steps do the same
by hand.)
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias

from sqlalchemy import event, inspect
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from ..errors import Fenced, InvalidOption, ObanError
from ..models import Job
from ..statements.ack import acknowledge, complete, still_ours, wait_for
from .acks import Ack, parameters
from .config import SessionMaker

Blocking: TypeAlias = Callable[[Callable[[], None]], Awaitable[None]]
"""Calls a function where it may block, and waits for its end whatever happens."""

_IN_JOB = "oban_sqla.job"


class Sessions:
    """Opens sessions for jobs, and ends them by the verdict on the job.

    :param maker: what the user gave as ``Oban(sessionmaker=…)``.
    :param blocking: where a plain ``Session`` commits and closes.
    """

    def __init__(self, *, maker: SessionMaker | None, blocking: Blocking) -> None:
        # Given, and never written again.
        self._maker = maker
        self._blocking = blocking

    async def open(self, kind: type) -> AsyncSession | Session:
        """A session of `kind` (``AsyncSession`` or ``Session``), whose ``commit()`` raises while the job has it.

        :raises InvalidOption: when the runtime has no sessionmaker of that kind.
        """
        session = None if self._maker is None else self._maker()
        if not isinstance(session, kind):
            expected = "async_sessionmaker" if kind is AsyncSession else "sessionmaker"
            raise InvalidOption(
                f"the job asks for a {kind.__name__}, but the runtime has {self._maker!r}; "
                f"give it one: Oban(engine, sessionmaker={expected}(…))"
            )
        assert isinstance(session, AsyncSession | Session)
        refuse_commit(session)
        return session

    async def complete(self, session: AsyncSession | Session, ack: Ack) -> None:
        """Acknowledge the job and commit what it has done, in one transaction.

        :raises Fenced: when the job was given to another run; everything was rolled back.
        """
        if isinstance(session, AsyncSession):
            await _to_its_end(session.run_sync(_finish, ack))
        else:
            await self._blocking(lambda: _finish(session, ack))

    async def close(self, session: AsyncSession | Session) -> None:
        """The end of :meth:`open`. What was not completed is rolled back."""
        if isinstance(session, AsyncSession):
            await _to_its_end(session.close())
        else:
            await self._blocking(session.close)


async def _to_its_end(work: Coroutine[Any, Any, Any]) -> None:
    """Wait for `work` even while being cancelled: a statement that is cut off may leave its connection unusable."""
    task = asyncio.ensure_future(work)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    task.result()


def _finish(session: Session, ack: Ack) -> None:
    session.flush()
    statement = complete if ack.is_plain else acknowledge
    connection = session.connection(bind_arguments={"mapper": inspect(Job)})
    fence = parameters(statement, [ack])
    changed = statement.execute(connection, **fence).all()
    if not changed and still_ours.execute(connection, **parameters(still_ours, [ack])).all():
        # Somebody's transaction holds the row. An ack could come back later; this transaction has to wait.
        wait_for.execute(connection, id=ack.id)
        changed = statement.execute(connection, **fence).all()
    if not changed:
        session.rollback()
        raise Fenced(f"job {ack.id}, attempt {ack.attempt}: it was given to another run; its effects were rolled back")
    allow_commit(session)
    session.commit()


def refuse_commit(session: AsyncSession | Session) -> None:
    """From now on a job has the session, and may commit only its own savepoints."""
    plain = session.sync_session if isinstance(session, AsyncSession) else session
    plain.info[_IN_JOB] = plain.get_nested_transaction()


def allow_commit(session: AsyncSession | Session) -> None:
    """The end of :func:`refuse_commit`."""
    session.info.pop(_IN_JOB, None)


@event.listens_for(Session, "before_commit")
def _refuse_commit(session: Session) -> None:
    if _IN_JOB in session.info and session.get_nested_transaction() is session.info[_IN_JOB]:
        raise ObanError(
            "commit() inside a job: the runtime commits this session when the job ends, together with the job's "
            "completion; use begin_nested() for a part that may fail, or another session"
        )
