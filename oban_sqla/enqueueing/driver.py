"""One statement of the unit of work by the call of the driver, past what SQLAlchemy's execution costs the client.

Taken on asyncpg unless the statements of the connection are watched: with a listener, an instrumentation or the
engine's log the statement goes the ordinary way, so that it is seen.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from ..models._sqlalchemy import private
from ..statements.statement import Statement

_WATCHED = ("before_execute", "after_execute", "before_cursor_execute", "after_cursor_execute")
_REPLACED = ("do_execute", "do_execute_no_params", "do_setinputsizes")
_log = logging.getLogger("sqlalchemy.engine.Engine")


def answer_of(connection: Connection, statement: Statement, given: dict[str, Any]) -> Sequence[Any]:
    """Execute `statement`, which answers with one row. It is empty where there is none.

    :param given: its parameters.
    :raises DBAPIError: as any statement does.
    """
    refuse = private(connection, "_handle_dbapi_exception")
    if connection.dialect.driver != "asyncpg" or refuse is None or _is_watched(connection):
        return statement.execute(connection, **given).one_or_none() or ()
    schemas = connection.get_execution_options().get("schema_translate_map")
    compiled = statement.compiled(connection.dialect, schemas)
    cursor = connection.connection.cursor()
    try:
        cursor.execute(compiled.sql, compiled.values(given))
        rows: Sequence[Sequence[Any]] = cursor.fetchall()
    except BaseException as error:
        refuse(error, compiled.sql, None, None, None)  # as SQLAlchemy does for statements of its own
        raise
    cursor.close()
    return rows[0] if rows else ()


def is_autocommit(connection: Connection) -> bool:
    """Whether each statement is a transaction, which holds no key while the next one waits."""
    return bool(getattr(connection.connection.dbapi_connection, "autocommit", False))


def _is_watched(connection: Connection) -> bool:
    listeners: Any = connection.dispatch
    replacements: Any = connection.dialect.dispatch
    return (
        any(getattr(listeners, name) for name in _WATCHED)
        or any(getattr(replacements, name) for name in _REPLACED)
        or bool(connection.engine.echo)
        or _log.isEnabledFor(logging.INFO)
    )
