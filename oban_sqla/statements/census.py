"""How many unfinished jobs there are."""

from typing import Any

from sqlalchemy import ColumnElement, Executable, Float, Select, Text, case, cast, func, null, select, union_all

from ..models.base import utc_now
from ..models.job import jobs
from .statement import in_states, state, statement


@statement
def census() -> Executable:
    """The unfinished jobs, but for suspended ones, by queue and state: how many, and since when the oldest is due.

    The latter is in seconds, and null unless they are available. Counted apart for each partial index, so that the
    finished ones, however many, are not read; and what is available or executing from the index alone, which has no
    column for the state.
    """
    staged = in_states(jobs.c.state, "scheduled", "retryable")
    return union_all(
        _one_state("available", func.max(_age())),
        _one_state("executing", null()),
        _by_state(null()).where(staged),
    )


@statement
def census_of_all() -> Executable:
    """As `census`, of all jobs in every state. Reads the whole table."""
    return _by_state(func.max(_age()).filter(jobs.c.state == state("available")))


def _one_state(name: str, oldest: ColumnElement[Any]) -> Select[Any, Any, Any, Any]:
    columns = (jobs.c.queue, cast(state(name), Text).label("state"), func.count().label("jobs"), _seconds(oldest))
    return select(*columns).where(jobs.c.state == state(name)).group_by(jobs.c.queue)


def _by_state(oldest: ColumnElement[Any]) -> Select[Any, Any, Any, Any]:
    columns = (jobs.c.queue, cast(jobs.c.state, Text).label("state"), func.count().label("jobs"), _seconds(oldest))
    return select(*columns).group_by(jobs.c.queue, jobs.c.state)


def _age() -> ColumnElement[Any]:
    # An infinite time, which only another program writes, can't be subtracted.
    due = case((func.isfinite(jobs.c.scheduled_at), utc_now() - jobs.c.scheduled_at))
    return func.extract("epoch", due)


def _seconds(value: ColumnElement[Any]) -> ColumnElement[Any]:
    return cast(value, Float).label("oldest")
