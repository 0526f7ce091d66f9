"""What a job may do with the session that it has: everything but end the transaction, which also completes the job.

A commit is refused at once, by an event of the session. Other ways to end the transaction are noted by its events, and
refused when the job is to be completed.
"""

from __future__ import annotations

from typing import cast

from sqlalchemy import Connection, event, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, SessionTransaction

from ..enqueueing.driver import is_autocommit
from ..enqueueing.unit_of_work import OWN
from ..errors import InvalidOption, ObanError
from ..options.sessionmakers import AUTOCOMMIT

# In the session's `info`, while a job has it: the savepoint that it may not commit, and what each connection has begun.
_IN_JOB, _BEGUN = "oban_sqla.job", "oban_sqla.begun"
# Whether the job has closed it, and whether it has rolled back.
_CLOSED, _UNDONE = "oban_sqla.closed", "oban_sqla.undone"


def refuse_commit(session: AsyncSession | Session) -> None:
    """From now on a job has the session, and may commit only its own savepoints."""
    plain = session.sync_session if isinstance(session, AsyncSession) else session
    plain.info[_IN_JOB] = plain.get_nested_transaction()
    plain.info[_BEGUN] = {}
    plain.info[OWN] = set()
    for key in (_CLOSED, _UNDONE):
        plain.info.pop(key, None)


def allow_commit(session: AsyncSession | Session) -> None:
    """The end of :func:`refuse_commit`."""
    for key in (_IN_JOB, _BEGUN, _CLOSED, _UNDONE, OWN):
        session.info.pop(key, None)


def refuse_ended(session: Session) -> None:
    """Refuse to complete a job that has ended the transaction in which it wrote.

    :raises ObanError: saying what the job did.
    """
    if session.info.get(_CLOSED):
        raise ObanError(
            "the job closed its session (close(), or `async with session:`), which rolled back what it had written; "
            "the runtime closes the session of a job, so leave that to it"
        )
    for connection, begun in cast(dict[Connection, object], session.info.get(_BEGUN, {})).items():
        if connection.closed or connection.get_transaction() is not begun:
            raise ObanError(
                "the job ended the transaction of its session by the connection (connection.commit() or rollback()); "
                "the runtime commits it together with the job's completion. Use session.begin_nested() for a part "
                "that may fail, or another session"
            )


def refuse_work_elsewhere(session: Session, connection: Connection) -> None:
    """Refuse to complete a job in another transaction than the one in which it wrote.

    :raises ObanError: naming the other database.
    """
    for other in cast(dict[Connection, object], session.info.get(_BEGUN, {})):
        if other is connection or other.engine is connection.engine:
            continue
        is_postgresql = other.dialect.name == "postgresql"
        if is_postgresql and other.scalar(select(func.pg_current_xact_id_if_assigned())) is None:
            continue  # it has only read there
        raise ObanError(
            f"the job wrote to another database ({other.engine.url.render_as_string()}) than the one that has the "
            "jobs, so its effects and its completion can't be one transaction. Write there in a session that the job "
            "opens, where a second run must do no harm"
        )


@event.listens_for(Session, "after_begin")
def _note_begin(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    if transaction.nested or _IN_JOB not in session.info:
        return
    if is_autocommit(connection):
        raise InvalidOption(AUTOCOMMIT)
    session.info[_BEGUN][connection] = connection.get_transaction()


@event.listens_for(Session, "after_rollback")
def _note_rollback(session: Session) -> None:
    # Of savepoints, too, after which what was written before them still counts.
    if _IN_JOB in session.info and session.get_nested_transaction() in (None, session.info[_IN_JOB]):
        session.info[_BEGUN] = {}  # by session.rollback(), as the job may: what it writes from now on counts
        session.info[_UNDONE] = True


@event.listens_for(Session, "after_transaction_end")
def _note_end(session: Session, transaction: SessionTransaction) -> None:
    # A session that is closed rolls back without telling those who listen to rollbacks. What it has begun may have
    # no connection yet: objects were added, and lost before a flush.
    if _IN_JOB in session.info and transaction.parent is None and not session.info.pop(_UNDONE, False):
        session.info[_CLOSED] = True


@event.listens_for(Session, "before_commit")
def _refuse_commit(session: Session) -> None:
    if _IN_JOB in session.info and session.get_nested_transaction() is session.info[_IN_JOB]:
        raise ObanError(
            "commit() inside a job: the runtime commits this session when the job ends, together with the job's "
            "completion; use begin_nested() for a part that may fail, or another session"
        )
