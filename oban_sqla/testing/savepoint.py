"""A savepoint around one job, in the session of the test."""

from __future__ import annotations

from sqlalchemy.orm import Session

from ..enqueueing.binds import FOR_WRITING


class Savepoint:
    """Begun at once. It belongs to the session, so that objects which a job adds to it go with a rollback."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._transaction = session.begin_nested()
        # The session sends SAVEPOINT when the connection is first used.
        session.connection(bind_arguments=FOR_WRITING)

    def end(self, keep: bool) -> None:
        """Release it, or roll back to it. Nothing is left to do where the job has ended the session's transaction."""
        if not self._is_open():
            return
        if keep:
            self._transaction.commit()
        else:
            self._transaction.rollback()

    def _is_open(self) -> bool:
        current = self._session.get_nested_transaction()
        while current is not None and current is not self._transaction:
            current = current.parent
        return current is not None
