"""Times that Python has: PostgreSQL knows infinity, and years before 1 and after 9999, which other programs may write.

A driver that meets one of those fails, and with it the whole statement.
"""

from typing import Any

from sqlalchemy import Column, ColumnElement, case, func, literal_column

from ..models.job import Job, jobs
from ..types import UTCDateTime

FIRST: ColumnElement[Any] = literal_column("timestamp '0001-01-01'", UTCDateTime())
LAST: ColumnElement[Any] = literal_column("timestamp '9999-12-31'", UTCDateTime())
"""The first time that Python has, and the last full day."""

TIMES = tuple(
    column.name for column in jobs.columns if isinstance(column.type, UTCDateTime) and hasattr(Job, column.name)
)
"""The attributes of a job that are times."""


def readable(column: Column[Any]) -> ColumnElement[Any]:
    """A time of a job as Python can have it: the nearest one, or null where the column may be null."""
    if column.nullable:
        return case((column.between(FIRST, LAST), column)).label(column.name)
    return func.greatest(func.least(column, LAST), FIRST, type_=column.type).label(column.name)
