"""Deleting what belongs to jobs together with them.

A statement that deletes jobs takes :func:`going_with`. The pruner takes :func:`going_in_ranges`, and only with those
tables in which :func:`used_belongings` finds a row, because otherwise its time would be spent on looking for nothing.
What another program's DELETE has left behind is found by a slow walk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Delete,
    Executable,
    Integer,
    Table,
    Text,
    delete,
    exists,
    func,
    literal_column,
    select,
    true,
)

from ..models.belongings import BELONGINGS
from ..models.job import jobs
from .lead import holds_lease
from .statement import Statement, ids, parameter, statement

_ONE: ColumnElement[int] = literal_column("1", Integer)


def going_with(gone: CTE) -> list[CTE]:
    """What deletes the rows of the jobs whose ids are in `gone`, for ``statement.add_cte(*going_with(gone))``."""
    return [
        delete(table).where(table.c.job_id == func.any(ids(select(gone.c.id)))).cte(f"gone_{number}")
        for number, table in enumerate(BELONGINGS)
    ]


def going_in_ranges(gone: CTE, tables: Sequence[Table]) -> list[CTE]:
    """The same for many jobs, of which most follow each other: one look for each unbroken range of their ids.

    To look for each of 10,000 jobs by itself takes as long as deleting what is found. A range holds
    the ids of these jobs alone, so it finds nothing of others.
    """
    lowest, highest = func.min(gone.c.id), func.max(gone.c.id)
    # Most often there is one range. To find that out first takes a tenth of the time of finding several.
    whole = select(lowest.label("lowest"), highest.label("highest")).having(highest - lowest + _ONE == func.count())
    one = whole.cte("one")
    step = gone.c.id - func.row_number().over(order_by=gone.c.id)
    numbered = select(gone.c.id, step.label("step")).where(~exists(select(one.c.lowest))).subquery("numbered")
    several = select(func.min(numbered.c.id), func.max(numbered.c.id)).group_by(numbered.c.step)
    ranges = select(one.c.lowest, one.c.highest).union_all(several).cte("ranges")
    return [_in_ranges(ranges, table).cte(f"gone_{number}") for number, table in enumerate(tables)]


def _in_ranges(ranges: CTE, table: Table) -> Delete:
    # A join could begin with the whole table; OFFSET 0 leaves the planner one way: from each range to its rows.
    other, place = table.alias("other"), literal_column("other.ctid", Text).label("place")
    within = other.c.job_id.between(ranges.c.lowest, ranges.c.highest)
    found = select(place).where(within).offset(literal_column("0")).correlate(ranges).lateral("found")
    places = func.array(select(found.c.place).select_from(ranges.join(found, true())).scalar_subquery())
    return delete(table).where(literal_column("ctid", Text) == func.any(places))


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
