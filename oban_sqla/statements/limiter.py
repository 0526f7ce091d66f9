"""What is asked of a limit apart from fetching: what it allows now, counting, suspending, forgetting.

A blank key stands for the queue; ``values`` is JSON text: the values of a partition's fields, in their order.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Double,
    Executable,
    Integer,
    Text,
    case,
    cast,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB

from ..models.job import jobs
from ..models.limits import partitions, rates
from .functions import Allowance, Consumed, Forgotten, Suspended
from .rates import WHOLE_QUEUE, clock, given_rate
from .statement import parameter, statement


def _queue() -> ColumnElement[str]:
    return cast(parameter("queue"), Text)


def _key() -> ColumnElement[str]:
    """The key of `values`, as :class:`PartitionKey` makes it; blank without any."""
    values = cast(cast(cast(parameter("values"), Text), JSONB), Text)
    text = case((func.octet_length(values) <= 200, values), else_=func.md5(values))
    key = select(cast(partitions.c.epoch, Text) + "|" + text).where(partitions.c.queue == parameter("queue"))
    return case((values.is_(None), WHOLE_QUEUE), else_=key.scalar_subquery())


@statement
def available() -> Executable:
    """How many starts the rate of `queue`, or of the key of `values`, allows now, and in how many seconds it allows
    more."""
    found = Allowance(_queue(), _key(), *given_rate(), clock()).alias("found")
    room, opens = literal_column("found.room", Integer), literal_column("found.opens", Double)
    return select(room, func.greatest(opens - clock(), 0)).select_from(found)


@statement
def delay() -> Executable:
    """In how many seconds the rate of `queue`, or of the key of `values`, allows `number` starts; 0 if it does now."""
    allowed, period, bucket = given_rate()
    spare = allowed - cast(parameter("number", BigInteger), BigInteger)
    total = func.cardinality(rates.c.ns)
    # So much of what was counted up to now must be older than a period.
    older = rates.c.ns[total] - spare
    entries = func.unnest(rates.c.ts, rates.c.ns[2:total]).table_valued("at", "upto").render_derived("entries")
    last = select(func.min(entries.c.at)).where(entries.c.upto >= older).scalar_subquery()
    slides = case((rates.c.ns[1] >= older, 0), else_=last + period)
    opens = case((bucket, rates.c.tat - spare * period / allowed), else_=slides)
    rows = select(func.greatest(opens, rates.c.until) - clock()).where(rates.c.queue == _queue(), rates.c.key == _key())
    return select(func.greatest(rows.scalar_subquery(), 0))


@statement
def consume() -> Executable:
    """Count `number` starts, if the rate allows them now. Returns whether it does."""
    return select(Consumed(_queue(), _key(), cast(parameter("number", BigInteger), BigInteger), *given_rate()))


@statement
def suspend() -> Executable:
    """Let nothing of `queue`, or of the key of `values`, start until `at`, seconds since 1970, or for `seconds`.

    Returns for how many seconds. What is suspended longer stays so.
    """
    at = func.coalesce(cast(parameter("at", Double), Double), clock() + cast(parameter("seconds", Double), Double))
    return select(Suspended(_queue(), _key(), at))


@statement
def suspend_own() -> Executable:
    """Suspend the key of the job `id`, or with `whole` for its queue. Returns the key, too."""
    own = select(jobs.c.partition_key).where(jobs.c.id == parameter("id", BigInteger)).scalar_subquery()
    marked = func.nullif(own, literal_column("'?'"))
    key = case((cast(parameter("whole", Boolean), Boolean), WHOLE_QUEUE), else_=func.coalesce(marked, WHOLE_QUEUE))
    chosen = select(key.label("key")).subquery("chosen")
    at = clock() + cast(parameter("seconds", Double), Double)
    return select(chosen.c.key, Suspended(_queue(), chosen.c.key, at))


@statement
def forget() -> Executable:
    """Forget what has started in `queue`, or in the key of `values`, and that it is suspended."""
    return select(Forgotten(_queue(), _key()))
