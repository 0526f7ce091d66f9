"""How many unfinished jobs there are."""

from typing import Any

from sqlalchemy import ColumnElement, Executable, Float, Select, Text, case, cast, func, select, union_all

from ..models.base import utc_now
from ..models.job import jobs
from .statement import state, statement


@statement
def census() -> Executable:
    """The unfinished jobs, but for suspended ones, by queue and state: how many, and since when the oldest is due.

    The latter is in seconds, and null unless they are available. Counted apart for each partial index, so that the
    finished ones, however many, are not read.
    """
    apart = [jobs.c.state == state(name) for name in ("available", "executing")]
    return union_all(*map(counted, (*apart, jobs.c.state.in_([state("scheduled"), state("retryable")]))))


def counted(*which: ColumnElement[bool]) -> Select[Any, Any, Any, Any]:
    """The jobs for which `which` holds, by queue and state."""
    # An infinite time, which only a stranger can have written, can't be subtracted.
    due = case((func.isfinite(jobs.c.scheduled_at), utc_now() - jobs.c.scheduled_at))
    longest = func.max(due).filter(jobs.c.state == state("available"))
    seconds = cast(func.extract("epoch", longest), Float)
    found = cast(jobs.c.state, Text).label("state")
    columns = (jobs.c.queue, found, func.count().label("jobs"), seconds.label("oldest"))
    return select(*columns).where(*which).group_by(jobs.c.queue, jobs.c.state)
