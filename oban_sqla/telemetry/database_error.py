"""What may be logged and traced of an error of the database: nothing of the values that were sent, or that a row has.

A server quotes them in its DETAIL, and in the message itself where it is about a value. SQLAlchemy adds the statement
and its parameters.
"""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError

_OF_VALUES = frozenset(("09", "21", "22", "23", "27", "38", "39", "44", "54", "P0"))
_POSTGRESQLS = _OF_VALUES | {
    "00", "01", "02", "03", "08", "0A", "0B", "0F", "0L", "0P", "0Z", "10", "20", "24", "25", "26", "28", "2B", "2D",
    "2F", "34", "3B", "3D", "3F", "40", "42", "53", "55", "57", "58", "72", "F0", "HV", "XX",
}  # fmt: skip


def is_of_value(sqlstate: str | None) -> bool:
    """Whether the message of an error quotes values, or is a user's: a value that is wrong, too large, against a
    constraint, or refused by a trigger, which may have an SQLSTATE of the user's, of a class that PostgreSQL lacks."""
    return sqlstate is not None and (sqlstate[:2] in _OF_VALUES or sqlstate[:2] not in _POSTGRESQLS)


def sqlstate_of(error: BaseException) -> str | None:
    """What PostgreSQL said, by either driver; None when it said nothing."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    value = getattr(cause, "sqlstate", None) or getattr(getattr(cause, "__cause__", None), "sqlstate", None)
    return value if isinstance(value, str) else None


def described(error: BaseException, sqlstate: str | None = None) -> str:
    """The class of `error` and its first line; of an error about a value its SQLSTATE and the constraint instead.

    :param sqlstate: where it is known better than the error says it.
    """
    said = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    sqlstate = sqlstate or sqlstate_of(error)
    name = type(said).__name__
    if is_of_value(sqlstate):
        constraint = _constraint(said) or _constraint(said.__cause__)
        of = "" if constraint is None else f", constraint {constraint}"
        return f"{name} (SQLSTATE {sqlstate}{of})"
    [first, *_] = str(said).splitlines() or [""]
    return f"{name}: {first}"


def of_database(error: BaseException) -> bool:
    """Whether the text of `error`, or of what led to it, is the database's or has what was sent to it."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        if isinstance(found, DBAPIError) or sqlstate_of(found) is not None:
            return True
        seen.add(id(found))
        found = found.__cause__ or found.__context__
    return False


def without_class(text: str) -> str:
    """The message of an error of a driver, without its class. SQLAlchemy writes ``<class '…'>: message``."""
    return text.partition(">: ")[2] if text.startswith("<class ") else text


def _constraint(error: BaseException | None) -> str | None:
    value = getattr(error, "constraint_name", None) or getattr(getattr(error, "diag", None), "constraint_name", None)
    return value if isinstance(value, str) else None
