"""What a program is told that enqueues into a database without the tables, or with those of an older version."""

from __future__ import annotations

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


def explain_missing_tables(error: ProgrammingError) -> None:
    """Add a note to `error` that says what to do, if it is about something that the migration makes."""
    # Only the first line: in the next one psycopg quotes the statement, which may be a query of the user's.
    if sqlstate_of(error) in _MISSING and _OF_THE_QUEUE in str(error.orig).partition("\n")[0]:
        error.add_note(_NOTE)
