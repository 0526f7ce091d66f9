"""Jobs and queues at a glance: what was asked of queues, which jobs run, and how many finished lately."""

from typing import Any

from sqlalchemy import ColumnElement, Executable, Float, Integer, Text, case, cast, func, or_, select

from ..models import QueueSettings
from ..models.base import utc_now
from ..models.job import jobs
from ..models.progress import progress_at
from .statement import parameter, seconds_from, state, statement


@statement
def by_index() -> Executable:
    """For the rest of the transaction: the planner keeps to the indexes, however few rows it thinks the table has.

    It takes many waiting jobs for a reason to read the whole table, finished jobs and all.
    """
    return select(func.set_config("enable_seqscan", "off", True), func.set_config("jit", "off", True))


@statement
def asked_of_all() -> Executable:
    """What was asked of all nodes of the instance `name`: a row for each queue, with whether it is `started` and
    `paused`; null where that was not asked."""
    settings = (QueueSettings.queue, QueueSettings.started, QueueSettings.paused)
    everywhere = QueueSettings.node == parameter("everywhere")
    return select(*settings).where(QueueSettings.name == parameter("name"), everywhere)


@statement
def running() -> Executable:
    """The `most` jobs that have run longest: id, queue, worker, attempts, node, seconds of age, and progress."""
    began = jobs.c.attempted_at
    age = case((func.isfinite(began), func.extract("epoch", utc_now() - began)))
    return (
        select(
            jobs.c.id,
            jobs.c.queue,
            cast(jobs.c.worker, Text).label("worker"),
            jobs.c.attempt,
            jobs.c.max_attempts,
            jobs.c.attempted_by[1].label("node"),
            cast(age, Float).label("age"),
            progress_at(jobs.c.id).label("progress"),
        )
        .where(jobs.c.state == state("executing"))
        .order_by(began.nulls_last(), jobs.c.id)
        .limit(parameter("most", Integer))
    )


@statement
def finished() -> Executable:
    """How many jobs of each queue have finished within the last `seconds`, however they did."""
    since = utc_now() - seconds_from(parameter("seconds", Float))
    return (
        select(jobs.c.queue, func.count().label("jobs"))
        .where(or_(*(_since(name, since) for name in ("completed", "cancelled", "discarded"))))
        .group_by(jobs.c.queue)
    )


def _since(name: str, since: ColumnElement[Any]) -> ColumnElement[bool]:
    return (jobs.c.state == state(name)) & (jobs.c[f"{name}_at"] > since)
