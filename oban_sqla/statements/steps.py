"""What long jobs keep: their steps, sleeps and waits, and the signals that were sent to them.

Each of these may be repeated: what has been written once stays as it is. `moment` is the time by which sleeps and
waits end, for tests that move it; null for the server's clock.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    DateTime,
    Double,
    Executable,
    Float,
    FromClause,
    Integer,
    Text,
    and_,
    cast,
    func,
    literal_column,
    null,
    or_,
    select,
    type_coerce,
    union_all,
)
from sqlalchemy.dialects.postgresql import JSONB, insert

from ..models.job import jobs
from ..models.steps import signals, steps
from ..options.encryption import MARK
from ..types import FINISHED, UTCDateTime
from .functions import Waited
from .statement import array, in_states, parameter, seconds_from, state, statement


def _clock() -> ColumnElement[Any]:
    # Not now(): that stands still in a transaction, and a test's transaction lasts as long as the test.
    real = func.timezone(literal_column("'UTC'"), func.clock_timestamp())
    return type_coerce(func.coalesce(parameter("moment", DateTime), real), UTCDateTime())


def _rest() -> ColumnElement[Any]:
    return cast(func.extract("epoch", steps.c.until - _clock()), Double)


@statement
def steps_of() -> Executable:
    """What the job `job_id` has done: names, kinds, values as JSON text, and the seconds until a sleep or wait ends."""
    return select(steps.c.name, steps.c.kind, cast(steps.c.value, Text), _rest()).where(
        steps.c.job_id == parameter("job_id", BigInteger)
    )


@statement
def mark() -> Executable:
    """The step `name` is done. Returns its name, or nothing when another run of the job has done it."""
    marked = insert(steps).values(
        job_id=parameter("job_id", BigInteger),
        name=parameter("name"),
        kind=literal_column("'step'"),
        value=cast(parameter("value"), JSONB),
        at=_clock(),
    )
    return marked.on_conflict_do_nothing(index_elements=[steps.c.job_id, steps.c.name]).returning(steps.c.name)


@statement
def fall_asleep() -> Executable:
    """The sleep `name`, of `seconds`, begins. Returns how long it still lasts, or nothing when it has begun before."""
    until = _clock() + seconds_from(parameter("seconds", Float))
    asleep = insert(steps).values(
        job_id=parameter("job_id", BigInteger),
        name=parameter("name"),
        kind=literal_column("'sleep'"),
        until=until,
        at=_clock(),
    )
    return asleep.on_conflict_do_nothing(index_elements=[steps.c.job_id, steps.c.name]).returning(_rest())


@statement
def await_signal() -> Executable:
    """Take the signal `signal` for the wait `name`, which is the `nth` for it and began by now, with a deadline in
    `seconds` or none.

    Returns the kind, the payload as JSON text, and the seconds to the deadline, of the wait as it is then.
    """
    return select(*_WAIT).select_from(_waited())


@statement
def steps_and_signal() -> Executable:
    """:func:`steps_of`, and :func:`await_signal` in a row without a name: what a run that begins with a wait needs.

    The steps are as they were before the wait.
    """
    done = select(steps.c.name, steps.c.kind, cast(steps.c.value, Text), _rest()).where(
        steps.c.job_id == cast(parameter("job_id", BigInteger), BigInteger)
    )
    return union_all(done, select(cast(null(), Text), *_WAIT).select_from(_waited()))


_WAIT = (
    literal_column("waited.kind", Text),
    literal_column("waited.value", Text),
    literal_column("waited.rest", Double),
)


def _waited() -> FromClause:
    return Waited(
        cast(parameter("job_id", BigInteger), BigInteger),
        cast(parameter("name"), Text),
        cast(parameter("signal"), Text),
        cast(parameter("nth", Integer), Integer),
        cast(parameter("seconds", Double), Double),
        cast(parameter("moment", DateTime), DateTime),
    ).alias("waited")


@statement
def send() -> Executable:
    """Send the signal `name` with `payload`, JSON text, to the job `job_id`, and tell `notice` on `channel`, if given.
    It locks no job.

    Returns the job's worker and whether the signal is sent; nothing for a job that has finished or is not there. It is
    not sent where the args of the job are encrypted, or its worker is one of `encrypting`, and `sealed` is not given.
    """
    unfinished = cast(jobs.c.state, Text).not_in([state(one.value) for one in sorted(FINISHED)])
    token = func.left(jobs.c.args.op("->>")(literal_column(f"'{MARK}'", Text)), 5)
    is_plain = and_(
        func.coalesce(token != literal_column("'gAAAA'"), literal_column("true")),
        cast(jobs.c.worker, Text) != func.all(array("encrypting")),
    )
    chosen = and_(jobs.c.id == parameter("job_id", BigInteger), unfinished)
    job = select(jobs.c.id, cast(parameter("name"), Text), cast(parameter("payload"), JSONB)).where(
        chosen, or_(cast(parameter("sealed", Boolean), Boolean), is_plain)
    )
    written = insert(signals).from_select(["job_id", "name", "payload"], job, include_defaults=False)
    sent = written.returning(signals.c.job_id).cte("sent")
    there = select(func.count()).select_from(sent).scalar_subquery()
    channel = cast(parameter("channel"), Text)
    told = select(func.pg_notify(channel, parameter("notice"))).select_from(sent).where(channel.is_not(None))
    return select(
        type_coerce(jobs.c.worker, Text).label("worker"),
        (there > literal_column("0")).label("is_sent"),
        told.scalar_subquery().is_not(None).label("is_told"),
    ).where(chosen)


@statement
def history_of() -> Executable:
    """What the job `job_id` has done, the oldest first: names, kinds, values, ends and times."""
    return (
        select(steps.c.name, steps.c.kind, steps.c.value, steps.c.until, steps.c.at)
        .where(steps.c.job_id == parameter("job_id", BigInteger))
        .order_by(steps.c.at, steps.c.name)
    )


@statement
def rest_of() -> Executable:
    """For what the job `job_id` sleeps now: the name, kind and end of the wait or sleep that began last; or no row."""
    lasts = or_(steps.c.kind == literal_column("'wait'"), steps.c.until > _clock())
    return (
        select(steps.c.name, steps.c.kind, steps.c.until)
        .where(steps.c.job_id == parameter("job_id", BigInteger))
        .where(in_states(steps.c.kind, "sleep", "wait"), lasts)
        .order_by(steps.c.at.desc())
        .limit(1)
    )


@statement
def signals_of() -> Executable:
    """The signals that were sent to the job `job_id`, the oldest first."""
    return (
        select(signals.c.name, signals.c.payload, signals.c.taken, signals.c.at)
        .where(signals.c.job_id == parameter("job_id", BigInteger))
        .order_by(signals.c.id)
    )
