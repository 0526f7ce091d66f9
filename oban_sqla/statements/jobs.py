"""Jobs as lists show them: without their arguments, and with the error of the last attempt."""

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Executable, Select, Text, func, literal_column, select

from ..models.job import jobs, names
from .statement import array, statement
from .times import TIMES, readable

_FIRST = (
    "id", "state", "queue", "worker", "attempt", "max_attempts", "priority", "tags",
    "inserted_at", "scheduled_at", "attempted_at", "completed_at", "cancelled_at", "discarded_at",
)  # fmt: skip
COLUMNS = names(_FIRST, without=("args", "meta", "errors", "attempted_by"))
"""Of the jobs table, in this order; ``error`` comes after them."""


def summaries() -> Select[Any]:
    """A select of all jobs, for conditions, an order and a limit to be added."""
    # By operators: the form of subscripts depends on SQLAlchemy's version.
    last: ColumnElement[Any] = jobs.c.errors.op("->")(literal_column("-1"))
    error: ColumnElement[str] = last.op("->>", return_type=Text())(literal_column("'error'"))
    columns = (readable(jobs.c[name]) if name in TIMES else jobs.c[name] for name in COLUMNS)
    return select(*columns, error.label("error"))


@statement
def summaries_by_id() -> Executable:
    """The jobs `ids`, in no order; those that are missing have no row."""
    return summaries().where(jobs.c.id == func.any(array("ids", BigInteger)))
