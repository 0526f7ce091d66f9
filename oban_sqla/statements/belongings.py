"""Deleting what belongs to jobs together with them.

A statement that deletes jobs takes :func:`going_with`; the pruner only with those tables in which
:func:`used_belongings` finds a row, because otherwise its time would be spent on looking for nothing. What another
program's DELETE has left behind is found by a slow walk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Executable,
    Integer,
    Table,
    delete,
    exists,
    func,
    literal_column,
    select,
)

from ..models.belongings import BELONGINGS
from ..models.job import jobs
from .lead import holds_lease
from .statement import Statement, ids, parameter, statement

_ONE: ColumnElement[int] = literal_column("1", Integer)


def going_with(gone: CTE, tables: Sequence[Table] = BELONGINGS) -> list[CTE]:
    """What deletes the rows of the jobs whose ids are in `gone`, for ``statement.add_cte(*going_with(gone))``.

    :param tables: in which to look; each costs a look for every job. Default: all.
    """
    return [
        delete(table).where(table.c.job_id == func.any(ids(select(gone.c.id)))).cte(f"gone_{number}")
        for number, table in enumerate(tables)
    ]


@statement
def used_belongings() -> Executable:
    """One row: for each of :data:`BELONGINGS`, whether it has any row."""
    return select(*(exists().where(table.c.job_id.is_not(None)).label(table.name) for table in BELONGINGS))


def orphans(table: Table) -> Statement:
    """Of the next `limit` jobs after `after` that have rows in `table`, delete the rows of those that are not there.

    One row: the id of the last job that it looked at, at how many it did, and how many rows were deleted.
    """

    def drop_orphans() -> Executable:
        walk = _next(parameter("after", BigInteger), table, _ONE).cte("walk", recursive=True)
        onward = _next(walk.c.job_id, table, walk.c.place + _ONE)
        walk = walk.union_all(
            onward.where(walk.c.job_id.is_not(None), walk.c.place < parameter("limit", Integer)).correlate(None)
        )
        missing = select(walk.c.job_id).where(
            walk.c.job_id.is_not(None), ~exists().where(jobs.c.id == walk.c.job_id), holds_lease()
        )
        gone = delete(table).where(table.c.job_id == func.any(ids(missing))).returning(table.c.job_id).cte("gone")
        looked = select(func.count(walk.c.job_id)).scalar_subquery()
        last = select(func.max(walk.c.job_id)).scalar_subquery()
        dropped = select(func.count()).select_from(gone).scalar_subquery()
        return select(last.label("last"), looked.label("looked"), dropped.label("dropped"))

    return statement(drop_orphans)


def _next(after: ColumnElement[Any], table: Table, place: ColumnElement[int]) -> Any:
    """The next job with a row in `table`, by one look at its key, however many rows a job has."""
    lowest = select(func.min(table.c.job_id)).where(table.c.job_id > after).scalar_subquery()
    return select(lowest.label("job_id"), place.label("place"))
