"""What ended in each queue and step of time, and how much waited: written by the nodes, read for charts."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Executable,
    Integer,
    Interval,
    Select,
    SmallInteger,
    Table,
    Text,
    column,
    delete,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy import literal as value
from sqlalchemy.dialects.postgresql import JSONB, REAL, UUID, insert

from ..models.base import utc_now
from ..models.seen import QueueDepth, QueueMetrics
from ..types import UTCDateTime
from .census import census
from .lead import holds_lease
from .statement import parameter, seconds_from, statement

metrics = cast(Table, QueueMetrics.__table__)
depths = cast(Table, QueueDepth.__table__)

STEPS = {60: 3 * 3_600, 600: 3 * 86_400, 3_600: 30 * 86_400}
"""The steps of time in seconds, and for how many seconds the rows of each are kept."""


@statement
def write_metrics() -> Executable:
    """Write `rows`, a JSON array of objects with the names of the columns and ``at`` in seconds since 1970.

    Each row is the whole of what its origin knows of its step, so a second write of it does no harm.
    """
    names = [one.name for one in metrics.c]
    given: list[Any] = [column(one.name, cast(Any, one.type)) for one in metrics.c if one.name not in ("at", "origin")]
    given += [column("at", BigInteger), column("origin", UUID)]
    rows = (
        func.jsonb_to_recordset(sql_cast(sql_cast(parameter("rows"), Text), JSONB))
        .table_valued(*given, name="given")
        .render_derived(name="given", with_types=True)
    )
    at = func.timezone(literal_column("'UTC'"), func.to_timestamp(rows.c.at), type_=UTCDateTime())
    chosen = select(*(at if name == "at" else rows.c[name] for name in names))
    written = insert(metrics).from_select(names, chosen, include_defaults=False)
    keys = [one.name for one in metrics.primary_key]
    return written.on_conflict_do_update(
        index_elements=keys, set_={name: written.excluded[name] for name in names if name not in keys}
    ).returning(metrics.c.queue)


@statement
def write_depths() -> Executable:
    """Write how many jobs of each queue are in each unfinished state, for the present step of `step` seconds."""
    counted = cast(Any, census.core).subquery("counted")
    step = parameter("step", Integer)
    now = func.extract("epoch", func.now())
    begins = func.to_timestamp(func.floor(now / step) * step)
    names = ("available", "scheduled", "retryable", "executing")
    numbers = [
        func.coalesce(func.sum(counted.c.jobs).filter(counted.c.state == literal_column(f"'{name}'")), 0)
        for name in names
    ]
    rows = (
        select(
            sql_cast(step, SmallInteger),
            func.timezone(literal_column("'UTC'"), begins),
            counted.c.queue,
            *(sql_cast(one, Integer) for one in numbers),
            sql_cast(func.max(counted.c.oldest), REAL),
        )
        .where(holds_lease())
        .group_by(counted.c.queue)
    )
    columns = ["step", "at", "queue", *names, "oldest"]
    written = insert(depths).from_select(columns, rows, include_defaults=False)
    return written.on_conflict_do_update(
        index_elements=["step", "at", "queue"], set_={name: written.excluded[name] for name in (*names, "oldest")}
    ).returning(depths.c.queue)


@statement
def prune_metrics() -> Executable:
    """Delete the rows of both tables that are past the time for which their step is kept. Returns their number."""
    return _pruned(metrics, depths)


def _pruned(*tables: Table) -> Select[Any]:
    gone: list[CTE] = [
        delete(table)
        .where(or_(*(_past(table, step, kept) for step, kept in STEPS.items())), holds_lease())
        .returning(literal_column("1", Integer).label("one"))
        .cte(f"gone_{number}")
        for number, table in enumerate(tables)
    ]
    counts: list[ColumnElement[Any]] = [select(func.count()).select_from(one).scalar_subquery() for one in gone]
    total = counts[0]
    for more in counts[1:]:
        total = total + more
    return select(total)


def _past(table: Table, step: int, kept: int) -> ColumnElement[bool]:
    age: ColumnElement[Any] = literal_column(f"interval '{kept} seconds'", Interval)
    return (table.c.step == literal_column(str(step))) & (table.c.at < utc_now() - age)


def series(step: int, seconds: float, queue: str | None = None) -> Select[Any]:
    """The rows of a step of the last `seconds`, of one queue or of all."""
    query = select(metrics).where(
        metrics.c.step == value(step), metrics.c.at > utc_now() - seconds_from(value(seconds))
    )
    return query if queue is None else query.where(metrics.c.queue == queue)


def depth_series(step: int, seconds: float, queue: str | None = None) -> Select[Any]:
    """How many jobs of a queue, or of all queues together, were in each unfinished state in each step of the last
    `seconds`, and for how long the first available one had waited. A step in which the leader wrote has a row."""
    of_queue = None if queue is None else depths.c.queue == queue
    numbers = ("available", "scheduled", "retryable", "executing")
    sums = [func.coalesce(_filtered(func.sum(depths.c[name]), of_queue), literal_column("0")) for name in numbers]
    return (
        select(
            depths.c.at,
            *(sql_cast(one, BigInteger).label(name) for one, name in zip(sums, numbers, strict=True)),
            _filtered(func.max(depths.c.oldest), of_queue).label("oldest"),
        )
        .where(depths.c.step == value(step), depths.c.at > utc_now() - seconds_from(value(seconds)))
        .group_by(depths.c.at)
        .order_by(depths.c.at)
    )


def _filtered(aggregate: Any, where: ColumnElement[bool] | None) -> ColumnElement[Any]:
    return cast("ColumnElement[Any]", aggregate if where is None else aggregate.filter(where))
