"""Who is there: the nodes' rows, and the leases of those who lead."""

from sqlalchemy import Executable, Float, Integer, Text, case, cast, func, literal_column, select

from ..models import Leader, Producer
from ..models.base import utc_now
from ..models.job import jobs
from .rescue import ran_by
from .statement import parameter, seconds_from, state, statement

MOST = 10_000
"""Rows that are read of the producers, of which a large cluster has hundreds."""


@statement
def members() -> Executable:
    """Every producer that has a row: its uuid as text, its instance, node and queue, and its meta as text."""
    columns = (Producer.name, Producer.node, Producer.queue, cast(Producer.meta, Text).label("meta"))
    return select(cast(Producer.uuid, Text).label("key"), *columns).limit(MOST)


@statement
def leases() -> Executable:
    """Every lease: its name, who holds it, and for how many seconds more; null for an infinite time."""
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
