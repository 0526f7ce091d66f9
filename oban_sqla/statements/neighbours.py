"""What belongs to a job: the jobs of its workflow, batch or entry of the crontab, and what it keeps beside its row."""

from __future__ import annotations

from typing import Any
from typing import cast as cast_to

from sqlalchemy import BigInteger, ColumnElement, Executable, Select, Text, cast, literal_column, select
from sqlalchemy import literal as value

from ..models.events import EventKind, events
from ..models.job import jobs
from ..models.steps import signals, steps
from .statement import parameter, statement

CRON_NAME: ColumnElement[str] = jobs.c.meta.op("->>", return_type=Text())(literal_column("'cron_name'"))


@statement
def groups_of() -> Executable:
    """To what the job `id` belongs: the ids of its workflow and batch, and the name of its entry of the crontab."""
    columns = (jobs.c.workflow_id, jobs.c.batch_id, jobs.c.chain_key, CRON_NAME.label("cron_name"))
    return select(*columns).where(jobs.c.id == parameter("id", BigInteger))


def members(name: str, of: object, limit: int) -> Select[Any]:
    """The newest jobs of a group, at most `limit`: id, worker, state.

    :param name: ``"workflow_id"``, ``"batch_id"`` or ``"cron_name"``.
    """
    is_one: ColumnElement[bool]
    if name == "cron_name":
        is_one = jobs.c.meta.bool_op("?")(literal_column("'cron_name'")) & (value(of, Text()) == CRON_NAME)
    else:
        is_one = jobs.c[name] == value(of, BigInteger())
    columns: list[Any] = [jobs.c.id, cast(jobs.c.worker, Text).label("worker"), cast(jobs.c.state, Text).label("state")]
    query = cast_to("Select[Any]", select(*columns))
    return query.where(is_one).order_by(jobs.c.id.desc()).limit(limit)


def kept_steps(job_id: int, limit: int) -> Select[Any]:
    """The steps, sleeps and waits of a job in order, at most `limit`."""
    query = cast_to("Select[Any]", select(steps))
    return query.where(steps.c.job_id == job_id).order_by(steps.c.at, steps.c.name).limit(limit)


def kept_signals(job_id: int, limit: int) -> Select[Any]:
    """The signals that were sent to a job in order, at most `limit`."""
    query = cast_to("Select[Any]", select(signals))
    return query.where(signals.c.job_id == job_id).order_by(signals.c.id).limit(limit)


def last_lines(job_id: int, kind: EventKind, limit: int) -> Select[Any]:
    """The last lines of a job's log, or its last events, the last first, at most `limit`."""
    query = cast_to("Select[Any]", select(events.c.n, events.c.at, events.c.value))
    own = (events.c.job_id == job_id) & (events.c.kind == literal_column(str(kind.value)))
    return query.where(own).order_by(events.c.n.desc()).limit(limit)
