"""What a program is told whose database refuses it the tables of the queue: they are not there, or not for its role.

Every statement that is refused gets the same note, also a query of the program's own: ``select(Job)``.
"""

from __future__ import annotations

from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import ProgrammingError

from ..telemetry.database_error import sqlstate_of

_MISSING = (
    "oban_sqla: its tables are missing here, or older than this package; run `oban-sqla migrate`, or call "
    "oban_sqla.migrations.upgrade(op) from an Alembic revision. Are they in another schema? "
    "Call oban_sqla.use_schema(name)"
)
_FORBIDDEN = (
    "oban_sqla: the role of this connection has no right to do that; as the owner of the tables run "
    "`oban-sqla grants ROLE | psql …`, with --enqueue-only for a program that runs no jobs"
)
FORBIDDEN = "42501"
"""The SQLSTATE of a privilege that a role lacks."""

_NOTES = {
    "42P01": _MISSING,  # a table
    "42703": _MISSING,  # a column
    "42883": _MISSING,  # a function
    "42704": _MISSING,  # a type
    FORBIDDEN: _FORBIDDEN,
}

_OF_THE_QUEUE = "oban_"
"""How the names of all tables, functions and types begin; PostgreSQL names the table of a column, too."""


def note_of(sqlstate: str | None, said: str) -> str | None:
    """What to tell beside an error of the database; None where it says nothing of the queue's tables.

    :param said: its message, of which only the first line counts: in the next one psycopg quotes the statement, which
        may be a query of the user's.
    """
    return _NOTES.get(sqlstate or "") if _OF_THE_QUEUE in said.partition("\n")[0] else None


# On all engines, because a program reads the tables through any of its own.
@event.listens_for(Engine, "handle_error")
def _explain(context: ExceptionContext) -> None:
    error = context.sqlalchemy_exception
    if isinstance(error, ProgrammingError) and (note := note_of(sqlstate_of(error), str(error.orig))) is not None:
        error.add_note(note)
