"""What it means that a server refuses the start of a node, and what to do then."""

from __future__ import annotations

import re

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError

from ..errors import DatabaseUnavailable, ObanError, SchemaOutdated
from ..models.base import metadata
from ..models.notes import FORBIDDEN, note_of
from ..runtime.lanes.failure import StatementFailed
from ..telemetry.printable import shell_word

_FINAL = re.compile(
    "authentication failed|does not exist|not permitted|pg_hba|denied|too many|remaining connection slots|"
    "not currently accepting|invalid|unrecognized|unsupported|no such"
)
"""Found in the message of a refusal that waiting does not end, where a driver gives no SQLSTATE of it."""

_OF_SERVER = re.compile(r"[^\s:]+:  (.+)")
"""How libpq repeats what a server says: FATAL in the server's language, and two spaces."""

_TOO_MANY = re.compile("too many (connections|clients)|remaining connection slots")
_MORE_CONNECTIONS = (
    "; a node holds four connections beside the engine's pool, and up to ten more by what its jobs do: raise the "
    "limit, or make the pools smaller; `oban-sqla doctor` counts them"
)

READ_ONLY = "25006"
"""The SQLSTATE of a write where only reads are possible."""


def refusal_of_start(error: StatementFailed, url: URL) -> ObanError:
    """What a start raises because of the failure of a statement."""
    if error.sqlstate == FORBIDDEN:
        return ObanError(_forbidden(error, url.username))
    if error.sqlstate == READ_ONLY:
        return DatabaseUnavailable(_read_only(error, url))
    if note_of(error.sqlstate, str(error)) is not None:
        return SchemaOutdated(_other_tables(error))
    said = answer(error)[0] or str(error)
    return DatabaseUnavailable(f"can't start on {url.render_as_string(hide_password=True)}: the database says: {said}")


def answer(error: StatementFailed) -> tuple[str, bool]:
    """What the server has answered to a connection, and whether another answer may come: it starts or stops, or has
    not answered at all, and then it is blank."""
    said, starting = _said(error)
    return said + (_MORE_CONNECTIONS if _TOO_MANY.search(said) else ""), starting


def _said(error: StatementFailed) -> tuple[str, bool]:
    if error.sqlstate is not None:
        return str(error).split(": ", 2)[-1], error.sqlstate.startswith("57P")
    # psycopg gives a refused connection no SQLSTATE, and the server says it in its own language.
    found = _OF_SERVER.search(str(error))
    said = "" if found is None else found[1].strip()
    if _FINAL.search(said) is not None:
        return said, False
    if _asked_password(error):  # before that it says whether it starts or stops
        return said or str(error).rpartition(" failed: ")[2].strip(), False
    return said, True


def _asked_password(error: StatementFailed) -> bool:
    refused = error.__cause__.orig if isinstance(error.__cause__, DBAPIError) else error.__cause__
    return bool(getattr(getattr(refused, "pgconn", None), "used_password", False))


def _forbidden(error: StatementFailed, role: str | None) -> str:
    *_, said = str(error).split(": ")
    named = "ROLE" if role is None else shell_word(role)
    return (
        f"the role of the node has no right to use the tables of the jobs: {said}; as the owner of the tables run "
        f"`oban-sqla grants {named} | psql …`"
    )


def _other_tables(error: StatementFailed) -> str:
    said = str(error).split(": ", 2)[-1]
    if metadata.schema is not None:
        return (
            f"the tables in the schema {metadata.schema!r} don't fit ({said}): they were created without its name, so "
            "that their functions look into the search path, or they were changed; have the schema in the search path "
            "(ALTER ROLE … SET search_path = …), or ask `oban-sqla doctor`"
        )
    return (
        f"the tables that are found first don't fit ({said}): another schema of the search path has one of the same "
        "name, or they were changed; name the schema by oban_sqla.use_schema(…), or ask `oban-sqla doctor`"
    )


def _read_only(error: StatementFailed, url: URL) -> str:
    said = str(error).split(": ", 2)[-1]
    return (
        f"{url.render_as_string(hide_password=True)} can't be written to ({said}): connect to the primary and not to a "
        "standby; or default_transaction_read_only is on for this role or database, and the jobs need it off"
    )
