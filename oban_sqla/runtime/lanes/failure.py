"""Failures of statements: what the server said, and whether the connection can be used after it."""

from __future__ import annotations

import asyncpg
from sqlalchemy.exc import DBAPIError

from ...telemetry.database_error import described, is_of_value, sqlstate_of

# SQLSTATE classes that speak of the server or the connection, not of what was sent.
_LOST = ("08", "57P", "25P03")
_UNENCODABLE = "22000"
_UNSUPPORTED = "0A000"
_HARMLESS = ("40", "55", "57014")
"""A deadlock, a lock that was not to be had, and a statement that was cancelled."""

_OF_SERVER = (*_LOST, "25", "40", "53", "55", "57", "58")
"""Also one that is read-only, full, or has no memory, and what another transaction did meanwhile."""

_TOO_SLOW = ("57014", "53200")
"""The server gave the statement up because of its time, or has no memory for it."""


class StatementFailed(OSError):
    """A statement failed on a lane.

    :ivar sqlstate: what PostgreSQL said; None when it did not get to say anything.
    :ivar unknown: the connection was lost on the way: the statement may or may not have been committed.
    :ivar sent: False where there was no connection to send it on.
    """

    def __init__(
        self, statement: str, cause: BaseException, sqlstate: str | None, unknown: bool, *, sent: bool = True
    ) -> None:
        super().__init__(f"{statement}: {described(cause, sqlstate)}")
        self.sqlstate = sqlstate
        self.unknown = unknown
        self.sent = sent

    @property
    def keeps_connection(self) -> bool:
        """Whether the connection is as good as before: another statement, or the same one later, may succeed on it.

        All else may be the connection's own state, which a new one does not have: a server that has become read-only,
        tables that were made anew, a plan that no longer fits.
        """
        harmless = self.sqlstate is not None and self.sqlstate.startswith(_HARMLESS)
        return not self.unknown and (harmless or self.is_data_error)

    @property
    def is_data_error(self) -> bool:
        """Whether it is some value's fault, so that trying the same again can't help."""
        return is_of_value(self.sqlstate)

    def blames_value(self, failures: int) -> bool:
        """The same for a caller that tries again on a new connection.

        What the server does not support is either such a value, which has letters that the encoding of the database
        lacks, or a plan that no longer fits, which a new connection does not have.

        :param failures: how often in a row it has failed before.
        """
        return self.is_data_error or (failures > 0 and self.sqlstate == _UNSUPPORTED)

    @property
    def is_of_server(self) -> bool:
        """Whether it is the server's state, or the line's: it says nothing of what was sent, or would have been."""
        return self.unknown or not self.sent or (self.sqlstate is not None and self.sqlstate.startswith(_OF_SERVER))

    @property
    def is_too_large(self) -> bool:
        """Whether the same for fewer rows may succeed: the answer did not come in time, or the server gave up."""
        return self.unknown or self.sqlstate in _TOO_SLOW


def statement_failed(statement: str, error: Exception) -> StatementFailed:
    """The failure of a statement that was sent; `unknown` unless the server answered on a connection that stands."""
    sqlstate = _UNENCODABLE if is_unsent(error) else sqlstate_of(error)
    return StatementFailed(statement, error, sqlstate, unknown=sqlstate is None or sqlstate.startswith(_LOST))


def connecting_failed(lane: str, error: Exception) -> StatementFailed:
    """The failure to connect: nothing was sent."""
    return StatementFailed(f"connecting ({lane})", error, sqlstate_of(error), unknown=False, sent=False)


def is_away(error: BaseException) -> bool:
    """Whether what was read may be read later: the line was lost, or the server does not answer as it should now."""
    if isinstance(error, OSError):
        return True
    if (sqlstate := sqlstate_of(error)) is not None:
        return sqlstate.startswith(_OF_SERVER)
    return isinstance(error, DBAPIError) and not is_unsent(error)


def is_refused(error: BaseException) -> bool:
    """Whether asyncpg sent nothing, because the server had taken its leave on the connection."""
    return isinstance(error, asyncpg.InternalClientError) and str(error).startswith("cannot switch to state")


def is_answered(error: BaseException) -> bool:
    """Whether the connection can take the next command: the server refused the statement, or never got it."""
    return sqlstate_of(error) is not None or is_unsent(error)


def is_unsent(error: BaseException) -> bool:
    """Whether the driver could not encode a parameter, so that nothing reached the server."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return sqlstate_of(error) is None and isinstance(cause, UnicodeError | OverflowError | asyncpg.DataError)
