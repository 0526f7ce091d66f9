"""What became of jobs that a program waits for."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Executable, Text, and_, case, cast, exists, func, literal_column, select

from ..models.job import jobs
from ..models.workflow import workflows
from .statement import parameter, state, statement, whole_numbers

LARGEST_INLINE = 65_536
"""Bytes that a recorded value may have as it is stored, to come with the outcome."""


def _recorded() -> Any:
    meta = jobs.c.meta
    has = meta.op("->>", return_type=Text())(literal_column("'recorded'")) == literal_column("'true'")
    value = cast(meta.op("->")(literal_column("'return'")), Text)
    return case((and_(jobs.c.state == state("completed"), has), value))


@statement
def outcomes() -> Executable:
    """How far the jobs `ids` are: the id; the state; how many errors there are; the last one; the recorded value as
    JSON text; whether that has to be asked for by :data:`recorded_value`, because it is large; the worker's name; and
    whether a workflow has taken its place. Those that are missing have no row."""
    errors = jobs.c.errors
    # What other programs wrote may be of any type.
    count = case((func.jsonb_typeof(errors) == literal_column("'array'"), func.jsonb_array_length(errors)), else_=0)
    last = errors.op("->")(literal_column("-1")).op("->>", return_type=Text())(literal_column("'error'"))
    recorded = jobs.c.meta.op("->>", return_type=Text())(literal_column("'recorded'"))
    is_replaced = and_(jobs.c.state == state("completed"), exists().where(workflows.c.graft_of == jobs.c.id))
    is_large = func.pg_column_size(jobs.c.meta) > literal_column(str(LARGEST_INLINE))
    return select(
        jobs.c.id,
        cast(jobs.c.state, Text).label("state"),
        count.label("failures"),
        last.label("error"),
        case((is_large, None), else_=_recorded()).label("value"),
        is_large.label("is_large"),
        cast(jobs.c.worker, Text).label("worker"),
        case((is_replaced, recorded.is_distinct_from(literal_column("'true'"))), else_=False).label("has_flow"),
    ).where(jobs.c.id == func.any(whole_numbers("ids")))


@statement
def recorded_value() -> Executable:
    """Whether the job `id` is completed, and the value that it has recorded, as JSON text; null when it has none."""
    completed = cast(jobs.c.state, Text) == literal_column("'completed'")
    return select(completed.label("is_completed"), _recorded().label("value")).where(
        jobs.c.id == parameter("id", BigInteger)
    )


@statement
def finished_flows() -> Executable:
    """Those of the workflows `ids` that have finished."""
    flows = workflows.c
    return select(flows.id).where(flows.id == func.any(whole_numbers("ids")), flows.finished_at.is_not(None))
