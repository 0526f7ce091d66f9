"""How far the limits of a queue are used, for people who look at it. By an index, and none counts far."""

from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Double,
    Executable,
    Integer,
    SmallInteger,
    Text,
    case,
    cast,
    column,
    func,
    literal_column,
    null,
    select,
    true,
    tuple_,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP

from ..models.job import jobs
from ..models.limits import partitions, rates
from .functions import Allowance
from .rates import WHOLE_QUEUE, clock, given_rate
from .statement import array, parameter, state, statement


@statement
def allowance() -> Executable:
    """What a rate allows now in `queue`, or in its `key` (blank: the queue), and in how many seconds it allows more.

    Without a rate (null) it is 0 while the queue or key is suspended.
    """
    queue, key = cast(parameter("queue"), Text), cast(parameter("key"), Text)
    found = Allowance(queue, key, *given_rate(), clock()).alias("found")
    room, opens = literal_column("found.room", Integer), literal_column("found.opens", Double)
    return select(room.label("room"), func.greatest(opens - clock(), 0).label("wait")).select_from(found)


@statement
def partition_of() -> Executable:
    """By what `queue` is partitioned, and the epoch of its keys."""
    return select(partitions.c.by, partitions.c.epoch).where(partitions.c.queue == parameter("queue"))


@statement
def suspended() -> Executable:
    """What is suspended for more than `seconds` from now: queue, how many of its keys, whether it is as a whole, and
    for how many seconds the longest."""
    left = rates.c.until - clock()
    whole = func.bool_or(rates.c.key == WHOLE_QUEUE)
    keys = func.count().filter(rates.c.key != WHOLE_QUEUE)
    return (
        select(rates.c.queue, keys.label("keys"), whole.label("whole"), func.max(left).label("left"))
        .where(left > parameter("seconds", Double))
        .group_by(rates.c.queue)
        .order_by(rates.c.queue)
    )


@statement
def used() -> Executable:
    """How many jobs of `queue` execute, and of them how many of `key`; both up to `most`."""
    executing = (
        select(jobs.c.partition_key)
        .where(jobs.c.state == state("executing"), jobs.c.queue == parameter("queue"))
        .limit(parameter("most", Integer))
        .subquery("executing")
    )
    own = func.count().filter(executing.c.partition_key == parameter("key"))
    return select(func.count().label("all"), own.label("own")).select_from(executing)


@statement
def usages() -> Executable:
    """How far the limits of each of `queues` are used: one row each, with the queue and

    * ``running``: how many of its jobs execute, up to `most`; null where `counted` does not ask for it;
    * ``room`` and ``wait``: what a rate of `allowed` starts in `periods` seconds allows now, and in how many seconds it
      allows more; without a rate ``room`` is null;
    * ``is_suspended`` and ``rest``: whether it is suspended as a whole, and for how many seconds.
    """
    arrays = (("allowed", Integer), ("periods", Double), ("buckets", Boolean), ("counted", Boolean))
    columns = [column(name, of) for name, of in (("queue", Text), *arrays)]
    given = func.unnest(array("queues"), *(cast(array(name), ARRAY(of)) for name, of in arrays))
    of = given.table_valued(*columns).render_derived(name="given")
    whole, bare = WHOLE_QUEUE, cast(null(), Integer)
    by_rate = Allowance(of.c.queue, whole, of.c.allowed, of.c.periods, of.c.buckets, clock()).alias("by_rate")
    at_rest = Allowance(
        of.c.queue, whole, bare, cast(bare, Double), literal_column("false"), clock()
    ).alias("at_rest")  # fmt: skip
    executing = (
        select(jobs.c.id)
        .where(jobs.c.state == state("executing"), jobs.c.queue == of.c.queue)
        .limit(parameter("most", Integer))
        .correlate(of)
        .lateral("executing")
    )
    running: Any = select(func.count()).select_from(executing).correlate(of)
    room, rest = literal_column("by_rate.room", Integer), literal_column("at_rest.room", Integer)
    opens = {name: func.greatest(literal_column(f"{name}.opens", Double) - clock(), 0) for name in _BOTH}
    return select(
        of.c.queue,
        case((of.c.counted, running.scalar_subquery())).label("running"),
        case((of.c.allowed.is_not(None), room)).label("room"),
        opens["by_rate"].label("wait"),
        (rest == literal_column("0")).label("is_suspended"),
        opens["at_rest"].label("rest"),
    ).select_from(of.join(by_rate, true()).join(at_rest, true()))


_BOTH = ("by_rate", "at_rest")


@statement
def busiest() -> Executable:
    """The keys of `queue` with most executing jobs, and those that are suspended, up to `most` of each.

    One row each: the key, how many execute, how many wait (up to `far`), and for how many seconds it is suspended.
    """
    mine = jobs.c.queue == parameter("queue")
    count = func.count().label("running")
    most = parameter("most", Integer)
    running = (
        select(jobs.c.partition_key.label("key"), count)
        .where(jobs.c.state == state("executing"), mine, jobs.c.partition_key.is_not(None))
        .group_by(jobs.c.partition_key)
        .order_by(count.desc(), jobs.c.partition_key)
        .limit(most)
        .subquery("running")
    )
    left = (rates.c.until - clock()).label("left")
    asleep = (
        select(rates.c.key, left)
        .where(rates.c.queue == parameter("queue"), rates.c.key != WHOLE_QUEUE, left > 0)
        .order_by(left.desc())
        .limit(most)
        .subquery("asleep")
    )
    both = running.outerjoin(asleep, asleep.c.key == running.c.key, full=True)
    key = func.coalesce(running.c.key, asleep.c.key)
    keys = select(key.label("key"), func.coalesce(running.c.running, 0).label("running"), asleep.c.left)
    found = keys.select_from(both).subquery("found")
    priorities = func.generate_series(0, 9).table_valued("priority").render_derived(name="priorities")
    # The index begins with the priority; equality would let the planner choose another index, see oban_fetch_limited.
    waiting = (
        select(jobs.c.id)
        .where(
            jobs.c.state == state("available"),
            mine,
            jobs.c.priority == cast(priorities.c.priority, SmallInteger),
            jobs.c.partition_key.is_not(None),
            jobs.c.partition_key >= found.c.key,
            jobs.c.partition_key <= found.c.key,
        )
        .order_by(jobs.c.partition_key)
        .limit(parameter("far", Integer))
        .correlate(priorities, found)
        .lateral("waiting")
    )
    counted: Any = select(func.count()).select_from(priorities.join(waiting, true())).correlate(found)
    return select(found.c.key, found.c.running, counted.scalar_subquery().label("waiting"), found.c.left).order_by(
        found.c.running.desc(), found.c.key
    )


@statement
def ahead_in_key() -> Executable:
    """How many available jobs of `key` in `queue` come before `priority`, `scheduled_at` and `id`; up to `most`.

    A key takes its jobs in this order; other keys do not count.
    """
    place = tuple_(jobs.c.priority, jobs.c.scheduled_at, jobs.c.id)
    own = (parameter("priority", SmallInteger), parameter("scheduled_at", TIMESTAMP), parameter("id", BigInteger))
    found = (
        select(jobs.c.id)
        .where(
            jobs.c.state == state("available"),
            jobs.c.queue == parameter("queue"),
            jobs.c.partition_key == parameter("key"),
            place < tuple_(*own),
            jobs.c.id != parameter("id", BigInteger),  # it may have become more urgent since it was read
        )
        .limit(parameter("most", Integer))
        .subquery("found")
    )
    return select(func.count()).select_from(found)
