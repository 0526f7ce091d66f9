"""What belongs to a job: the jobs of its workflow, batch or entry of the crontab, and what it keeps beside its row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from typing import cast as cast_to

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Executable,
    Select,
    Table,
    Text,
    cast,
    func,
    literal_column,
    select,
    true,
)
from sqlalchemy import literal as value
from sqlalchemy.dialects.postgresql import ARRAY

from ..models.events import EventKind, events
from ..models.job import jobs
from ..models.steps import signals, steps
from .statement import parameter, statement

WINDOW = 1_000
"""Jobs of a workflow or batch among which the newest are looked for."""
LONGEST = 2_000
"""Characters of what a job keeps that are read."""
CRON_NAME: ColumnElement[str] = jobs.c.meta.op("->>", return_type=Text())(literal_column("'cron_name'"))


@statement
def groups_of() -> Executable:
    """To what the job `id` belongs: the ids of its workflow and batch, and the name of its entry of the crontab."""
    columns = (jobs.c.workflow_id, jobs.c.batch_id, CRON_NAME.label("cron_name"))
    return select(*columns).where(jobs.c.id == parameter("id", BigInteger))


def members(name: str, of: object, limit: int) -> Select[Any]:
    """The newest jobs of a group, at most `limit`: id, worker, state and name. Of a workflow or batch they are the
    newest of so many that an index gives.

    :param name: ``"workflow_id"``, ``"batch_id"`` or ``"cron_name"``.
    """
    is_one: ColumnElement[bool]
    if name == "cron_name":
        is_one = jobs.c.meta.bool_op("?")(literal_column("'cron_name'")) & (value(of, Text()) == CRON_NAME)
    else:
        is_one = jobs.c[name] == value(of, BigInteger())
    columns: list[Any] = [jobs.c.id, cast(jobs.c.worker, Text).label("worker"), cast(jobs.c.state, Text).label("state"),
                          jobs.c.node_name]  # fmt: skip
    if name == "cron_name":  # the index has them in this order
        return cast_to("Select[Any]", select(*columns)).where(is_one).order_by(jobs.c.id.desc()).limit(limit)
    window = select(jobs.c.id).where(is_one).limit(WINDOW).subquery("some")
    query = cast_to("Select[Any]", select(*columns)).join(window, window.c.id == jobs.c.id)
    return query.order_by(jobs.c.id.desc()).limit(limit)


def last_runs(names: Sequence[str], limit: int) -> Select[Any]:
    """The newest jobs of each of these entries of the crontab, at most `limit` of each: name, id, state."""
    asked = func.unnest(value(list(names), ARRAY(Text))).table_valued("name").render_derived(name="asked")
    is_run = jobs.c.meta.bool_op("?")(literal_column("'cron_name'")) & (asked.c.name == CRON_NAME)
    runs = (
        select(jobs.c.id, cast(jobs.c.state, Text).label("state"))
        .where(is_run)
        .order_by(jobs.c.id.desc())
        .limit(limit)
        .correlate(asked)
        .lateral("runs")
    )
    query = cast_to("Select[Any]", select(asked.c.name, runs.c.id, runs.c.state))
    return query.select_from(asked.join(runs, true())).order_by(asked.c.name, runs.c.id)


def kept_steps(job_id: int, limit: int) -> Select[Any]:
    """The steps, sleeps and waits of a job in order, at most `limit`, with the beginning of each value as text."""
    query = cast_to("Select[Any]", select(*_with_text(steps, "value")))
    return query.where(steps.c.job_id == job_id).order_by(steps.c.at, steps.c.name).limit(limit)


def kept_signals(job_id: int, limit: int) -> Select[Any]:
    """The signals that were sent to a job in order, at most `limit`, with the beginning of each payload as text."""
    query = cast_to("Select[Any]", select(*_with_text(signals, "payload")))
    return query.where(signals.c.job_id == job_id).order_by(signals.c.id).limit(limit)


def last_lines(job_id: int, kind: EventKind, limit: int) -> Select[Any]:
    """The last lines of a job's log, or its last events, the last first, at most `limit`. Lines have a level and a
    message."""
    parts = [func.left(events.c.value.op("->>", return_type=Text())(literal_column(f"'{name}'")), LONGEST).label(name)
             for name in ("level", "message")]  # fmt: skip
    query = cast_to("Select[Any]", select(events.c.n, events.c.at, _text(events.c.value), *parts))
    own = (events.c.job_id == job_id) & (events.c.kind == literal_column(str(kind.value)))
    return query.where(own).order_by(events.c.n.desc()).limit(limit)


def _with_text(table: Table, name: str) -> list[ColumnElement[Any]]:
    """The columns of a table, of which one is JSON, as the beginning of its text."""
    return [_text(one) if one.name == name else one for one in table.c]


def _text(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.left(cast(column, Text), LONGEST).label("text")
