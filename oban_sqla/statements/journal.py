"""What jobs tell while they run: progress, events and log lines.

The run is the only writer of its job's rows, so it numbers them by itself, from the largest number on. Two runs of one
job, of which one was taken for dead, may write the same number: then one of the two statements fails. What is written
is fenced like an ack, so a run that has lost its job writes nothing.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Double,
    Executable,
    Integer,
    SmallInteger,
    Text,
    and_,
    case,
    cast,
    column,
    delete,
    func,
    literal_column,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB, insert

from ..models.base import utc_now
from ..models.events import EventKind, events
from ..models.job import jobs
from ..models.progress import progress_rows
from .ack import FENCE, still_held
from .statement import array, parameter, statement

_LINE = (
    column("run", Integer),
    column("kind", SmallInteger),
    column("n", BigInteger),
    column("moment", Double),
    column("value", Text),
)
_NOTE = (column("done", Double), column("total", Double), column("note", Text))


def _given(name: str, *columns: Any, numbered: bool = False) -> Any:
    rows = func.unnest(*(array(c.name, c.type) for c in columns))
    made = rows.table_valued(*columns, with_ordinality="place") if numbered else rows.table_valued(*columns)
    return made.render_derived(name=name).alias(name)


@statement
def numbers() -> Executable:
    """The largest number of each `kind` of the job `id`; 0 for one that has none. In the given order."""
    given = _given("given", column("id", BigInteger), column("kind", SmallInteger), numbered=True)
    largest = (
        select(func.max(events.c.n))
        .where(events.c.job_id == given.c.id, events.c.kind == given.c.kind)
        .correlate(given)
        .scalar_subquery()
    )
    return select(func.coalesce(largest, literal_column("0"))).select_from(given).order_by(given.c.place)


@statement
def record() -> Executable:
    """Write lines of runs, and delete lines of the logs that are too old: of `cut_id` those up to `cut`.

    `run` says to which of the runs, from 1 on, a line belongs. Tells `payload` on `channel` when something was
    written, unless it is null. Returns the places of those runs that still have their jobs; of others nothing is
    written.
    """
    runs = _given("runs", *FENCE, numbered=True)
    held = still_held(runs).limit(1).lateral("held")
    ours = select(runs.c.place, runs.c.id).select_from(runs.join(held, true())).cte("ours")
    lines = _given("lines", *_LINE)
    at = func.timezone(literal_column("'UTC'"), func.to_timestamp(lines.c.moment))
    chosen = (
        select(ours.c.id, lines.c.kind, lines.c.n, at, cast(lines.c.value, JSONB))
        .select_from(lines.join(ours, ours.c.place == lines.c.run))
        .order_by(ours.c.id, lines.c.kind, lines.c.n)
    )
    written = insert(events).from_select(["job_id", "kind", "n", "at", "value"], chosen, include_defaults=False)
    old = _given("old", column("cut_id", BigInteger), column("cut", BigInteger))
    is_log = events.c.kind == literal_column(str(EventKind.LOG.value))
    trimmed = delete(events).where(events.c.job_id == old.c.cut_id, is_log, events.c.n <= old.c.cut)
    payload = parameter("payload")
    sent = select(func.pg_notify(parameter("channel"), payload)).scalar_subquery()
    told = case((payload.is_not(None), sent.is_not(None)))
    return select(ours.c.place, told.label("told")).add_cte(written.cte("written"), trimmed.cte("trimmed"))


@statement
def recorded() -> Executable:
    """How many of these lines are there as they are given: after a statement of which no answer came."""
    lines = _given("lines", column("id", BigInteger), *_LINE[1:3], _LINE[4])
    same = and_(
        events.c.job_id == lines.c.id,
        events.c.kind == lines.c.kind,
        events.c.n == lines.c.n,
        events.c.value == cast(lines.c.value, JSONB),
    )
    return select(func.count()).select_from(lines.join(events, same))


@statement
def tell() -> Executable:
    """Tell `payload` on `channel`."""
    return select(func.pg_notify(parameter("channel"), parameter("payload")))


@statement
def note() -> Executable:
    """Write the progress of runs that still have their jobs."""
    runs = _given("runs", *FENCE, *_NOTE)
    held = still_held(runs).limit(1).lateral("held")
    chosen = (
        select(runs.c.id, runs.c.done, runs.c.total, utc_now(), runs.c.note)
        .select_from(runs.join(held, true()))
        .order_by(runs.c.id)
    )
    written = insert(progress_rows).from_select(
        ["job_id", "done", "total", "at", "note"], chosen, include_defaults=False
    )
    new = written.excluded
    return written.on_conflict_do_update(
        index_elements=[progress_rows.c.job_id],
        set_={"done": new.done, "total": new.total, "at": new.at, "note": new.note},
    ).returning(progress_rows.c.job_id)


def lines_after(job_id: int, kind: EventKind, after: int, limit: int) -> Executable:
    """The state and worker of a job, with each of its next lines.

    One row without a line where there is none; no row where the job is not there.
    """
    chosen = (
        select(events.c.n, events.c.at, events.c.value)
        .where(events.c.job_id == job_id, events.c.kind == kind.value, events.c.n > after)
        .order_by(events.c.n)
        .limit(limit)
        .lateral("lines")
    )
    state: ColumnElement[str] = cast(jobs.c.state, Text)
    return (
        select(state.label("state"), jobs.c.worker, chosen.c.n, chosen.c.at, chosen.c.value)
        .select_from(jobs.outerjoin(chosen, true()))
        .where(jobs.c.id == job_id)
        .order_by(chosen.c.n)
    )


def last_lines(job_id: int, kind: EventKind, limit: int) -> Executable:
    """The newest lines of a job, the newest first, each with the job's worker."""
    return (
        select(jobs.c.worker, events.c.n, events.c.at, events.c.value)
        .select_from(events.join(jobs, jobs.c.id == events.c.job_id))
        .where(events.c.job_id == job_id, events.c.kind == kind.value)
        .order_by(events.c.n.desc())
        .limit(limit)
    )
