"""What a program is told whose database has no tables of the queue, or those of an older version.

Every statement that finds none gets the same note, also a query of the program's own: ``select(Job)``.
"""

from __future__ import annotations

from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import ProgrammingError

from ..telemetry.database_error import sqlstate_of

_MISSING = ("42P01", "42703", "42883", "42704")
"""The SQLSTATEs of an undefined table, column, function and type."""

_OF_THE_QUEUE = "oban_"
"""How the names of all tables, functions and types begin; PostgreSQL names the table of a column, too."""

_NOTE = (
    "oban_sqla: its tables are missing here, or older than this package; run `oban-sqla migrate`, or call "
    "oban_sqla.migrations.upgrade(op) from an Alembic revision. Are they in another schema? "
    "Call oban_sqla.use_schema(name)"
)


# On all engines, because a program reads the tables through any of its own.
@event.listens_for(Engine, "handle_error")
def _explain(context: ExceptionContext) -> None:
    error = context.sqlalchemy_exception
    # Only the first line: in the next one psycopg quotes the statement, which may be a query of the user's.
    if (
        isinstance(error, ProgrammingError)
        and sqlstate_of(error) in _MISSING
        and _OF_THE_QUEUE in str(error.orig).partition("\n")[0]
    ):
        error.add_note(_NOTE)
