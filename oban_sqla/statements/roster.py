"""The nodes and leaders of the cluster, as rows."""

from sqlalchemy import (
    BigInteger,
    Executable,
    Float,
    Integer,
    Text,
    case,
    cast,
    false,
    func,
    literal_column,
    select,
    true,
    union,
)
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by

from ..models import Leader, Producer
from ..models.base import utc_now
from ..models.job import jobs
from ..models.queue import QueueSettings
from .cluster import is_locked, silence
from .rescue import ran_by
from .statement import parameter, seconds_from, state, statement
from .times import FIRST, LAST

MOST = 10_000
"""Rows that are read of the producers, of which a large cluster has hundreds."""


@statement
def members() -> Executable:
    """Every producer that has a row.

    One row each: its uuid, instance, node and queue; its meta as text; when it started, moved to a time that Python has
    where another program wrote an infinite one; its last heartbeat, null for such a time; for how many seconds it has
    been silent; whether its lock is held; and the ids of the jobs that execute under it.
    """
    key = cast(Producer.uuid, Text)
    running = (
        select(ran_by().label("key"), func.array_agg(aggregate_order_by(jobs.c.id, jobs.c.id)).label("ids"))
        .where(jobs.c.state == state("executing"))
        .group_by(ran_by())
        .subquery("running")
    )
    started, beat = Producer.started_at, Producer.updated_at
    return (
        select(
            Producer.uuid,
            Producer.name,
            Producer.node,
            Producer.queue,
            cast(Producer.meta, Text).label("meta"),
            func.least(func.greatest(started, FIRST), LAST, type_=started.type).label("started_at"),
            case((beat.between(FIRST, LAST), beat)).label("last_beat"),
            silence().label("silent"),
            is_locked(key).label("locked"),
            func.coalesce(running.c.ids, cast(literal_column("'{}'"), ARRAY(BigInteger))).label("running"),
        )
        .select_from(Producer.__table__.outerjoin(running, running.c.key == key))
        .limit(MOST)
    )


@statement
def served() -> Executable:
    """The queues that a node runs, or that were stopped on purpose: the name, and whether it is the latter."""
    stopped = select(QueueSettings.queue, true().label("stopped")).where(QueueSettings.started.is_(false()))
    return union(select(Producer.queue, false().label("stopped")), stopped)


@statement
def leases() -> Executable:
    """Every lease: its name, its holder, and for how many more seconds it is held; null for an infinite time."""
    left = case((func.isfinite(Leader.expires_at), func.extract("epoch", Leader.expires_at - utc_now())))
    return select(Leader.name, Leader.node.label("holder"), cast(left, Float).label("left")).limit(MOST)


@statement
def orphans() -> Executable:
    """Of the jobs that began at least `age` seconds ago, those executing under a producer that has no row.

    One row: how many, counted up to `most`, and for how many seconds the oldest one runs.
    """
    began = func.coalesce(jobs.c.attempted_at, jobs.c.inserted_at)
    nobody = (
        select(case((func.isfinite(began), utc_now() - began)).label("age"))
        .where(
            jobs.c.state == state("executing"),
            began <= utc_now() - seconds_from(parameter("age", Float)),
            ran_by().not_in(select(cast(Producer.uuid, Text))),
        )
        .limit(parameter("most", Integer))
        .subquery("nobody")
    )
    oldest = cast(func.extract("epoch", func.max(nobody.c.age)), Float).label("oldest")
    return select(func.count(literal_column("*")).label("jobs"), oldest).select_from(nobody)
