"""What may be logged and traced of an error of the database: nothing of the values that were sent, or that a row has.

A server quotes them in its DETAIL, and in the message itself where it is about a value. SQLAlchemy adds the statement
and its parameters.
"""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError

DATA_ERRORS = ("21", "22", "23", "54", "P0")
"""The classes of SQLSTATE whose messages quote values, or are a user's: a value that is wrong, too large, against a
constraint, or refused by a trigger."""


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
    if sqlstate is not None and sqlstate.startswith(DATA_ERRORS):
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


def _constraint(error: BaseException | None) -> str | None:
    value = getattr(error, "constraint_name", None) or getattr(getattr(error, "diag", None), "constraint_name", None)
    return value if isinstance(value, str) else None
