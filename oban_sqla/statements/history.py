"""What a queue has started lately, as its rows remember it."""

from typing import Any

from sqlalchemy import ColumnElement, Double, Executable, Float, Integer, Text, cast, func, or_, select
from sqlalchemy.dialects.postgresql import ARRAY

from ..models.base import utc_now
from ..models.job import jobs
from .functions import PartitionKey
from .statement import parameter, seconds_from, state, statement


@statement
def started() -> Executable:
    """The jobs of `queue` whose last attempt began within `seconds` and that run or have finished; at most `most`, the
    newest.

    One row each: when it was due and when it began, in seconds since 1970; its weight in its meta, as text; and its key
    by the fields `by`.
    """
    since = utc_now() - seconds_from(parameter("seconds", Float))
    due = func.greatest(jobs.c.inserted_at, jobs.c.scheduled_at)
    key = PartitionKey(0, cast(parameter("by", ARRAY(Text)), ARRAY(Text)), jobs.c.worker, jobs.c.args, jobs.c.meta)
    ended = (_since(name, since) for name in ("completed", "cancelled", "discarded"))
    return (
        select(
            _epoch(due).label("due"),
            _epoch(jobs.c.attempted_at).label("began"),
            jobs.c.meta.op("->>")("weight").label("weight"),
            key.label("key"),
        )
        .where(
            jobs.c.queue == parameter("queue"),
            jobs.c.attempted_at > since,
            func.isfinite(due),
            or_(jobs.c.state == state("executing"), *ended),
        )
        .order_by(jobs.c.attempted_at.desc())
        .limit(parameter("most", Integer))
    )


def _since(name: str, since: ColumnElement[Any]) -> ColumnElement[bool]:
    return (jobs.c.state == state(name)) & (jobs.c[f"{name}_at"] > since)


def _epoch(moment: ColumnElement[Any]) -> ColumnElement[float]:
    return cast(func.extract("epoch", moment), Double)
