"""Looking after partitions: jobs that have no key of the present epoch get one, and rates that no longer count go."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Executable,
    Integer,
    Select,
    SmallInteger,
    Text,
    case,
    cast,
    delete,
    func,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP

from ..models.job import jobs
from ..models.limits import partitions, rates
from .functions import PartitionKey
from .lead import holds_lease
from .rates import clock
from .statement import array, ids, in_states, parameter, state, statement

_NONE: ColumnElement[Any] = literal_column("'{}'")
_MARK: ColumnElement[Any] = literal_column("'?'")


def unkeyed() -> ColumnElement[Any]:
    """The key of a job whose meta changes: a mark, as a trigger gives to one whose queue or args change.

    It gets its key when it is next fetched. Null stays: the queue is not partitioned.
    """
    return case((jobs.c.partition_key.is_not(None), _MARK))


@statement
def partitioned() -> Executable:
    """The queues that are partitioned, and the epoch of each."""
    return select(partitions.c.queue, partitions.c.epoch).where(partitions.c.by != _NONE)


def _is_stale() -> ColumnElement[bool]:
    """Whether the key is not one of the `epoch`."""
    epoch = cast(parameter("epoch", Integer), Text)
    return or_(
        jobs.c.partition_key.is_(None),
        jobs.c.partition_key < epoch + literal_column("'|'"),
        jobs.c.partition_key >= epoch + literal_column("'}'"),
    )


@statement
def stale_waiting() -> Executable:
    """Of the next `limit` available jobs of `queue` behind `priority`, `scheduled_at`, `id`, the ids of those without a
    key of `epoch`; how many were looked at; and the place of the last one."""
    return _stale(jobs.c.state == state("available"), jobs.c.priority, jobs.c.scheduled_at, jobs.c.id)


@statement
def stale_scheduled() -> Executable:
    """As :data:`stale_waiting`, of the jobs that wait for their time, behind `scheduled_at`, `id`."""
    return _stale(in_states(jobs.c.state, "scheduled", "retryable"), jobs.c.scheduled_at, jobs.c.id)


@statement
def stale_suspended() -> Executable:
    """As :data:`stale_waiting`, of the jobs that wait for others, behind `id`."""
    return _stale(jobs.c.state == state("suspended"), jobs.c.id)


_PLACE = {"priority": SmallInteger, "scheduled_at": TIMESTAMP, "id": BigInteger}


def _stale(which: ColumnElement[bool], *order: Any) -> Executable:
    after = tuple_(*(parameter(one.name, _PLACE[one.name]) for one in order))
    looked = (
        select(*order, _is_stale().label("stale"))
        .where(which, jobs.c.queue == parameter("queue"), tuple_(*order) > after)
        .order_by(*order)
        .limit(parameter("limit", Integer))
        .cte("looked")
    )
    found = func.array_agg(looked.c.id).filter(looked.c.stale)
    place: list[Any] = [looked.c[one.name] for one in order]
    end: Any = select(*place).order_by(*(one.desc() for one in place)).limit(1).subquery("last")
    totals = select(found.label("ids"), func.count().label("seen")).select_from(looked).subquery("totals")
    columns: list[Any] = [totals.c.ids, totals.c.seen, *(end.c[one.name] for one in order)]
    return select(*columns).select_from(totals.outerjoin(end, literal_column("true")))


@statement
def stale_running() -> Executable:
    """The ids of up to `limit` executing jobs of `queue` without a key of `epoch`."""
    return (
        select(jobs.c.id)
        .where(jobs.c.state == state("executing"), jobs.c.queue == parameter("queue"), _is_stale())
        .limit(parameter("limit", Integer))
    )


@statement
def rekey() -> Executable:
    """Give the jobs `given` the keys of the present epoch, those that still wait or run and are not locked."""
    found: Select[Any] = (
        select(jobs.c.id)
        .where(
            jobs.c.id == func.any(array("given", BigInteger)),
            in_states(cast(jobs.c.state, Text), "available", "executing", "scheduled", "retryable", "suspended"),
        )
        .order_by(jobs.c.id)
        .with_for_update(skip_locked=True)
    )
    key = PartitionKey(partitions.c.epoch, partitions.c.by, jobs.c.worker, jobs.c.args, jobs.c.meta)
    return (
        update(jobs)
        .where(
            jobs.c.id == func.any(ids(found)),
            partitions.c.queue == jobs.c.queue,
            partitions.c.by != _NONE,
            holds_lease(),
        )
        .values(partition_key=key)
        .returning(jobs.c.id)
    )


@statement
def drop_idle_rates() -> Executable:
    """Delete up to `limit` rows of rates that say nothing any more; a missing row says the same."""
    idle = (rates.c.idle_at < clock()) & (rates.c.until < clock())
    found = select(rates.c.queue, rates.c.key).where(idle).limit(parameter("limit", Integer))
    chosen = found.with_for_update(skip_locked=True).cte("chosen")
    return (
        delete(rates)
        .where(tuple_(rates.c.queue, rates.c.key).in_(select(chosen.c.queue, chosen.c.key)), idle, holds_lease())
        .returning(rates.c.key)
    )
