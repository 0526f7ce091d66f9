"""What operators ask of queues and running jobs: written as rows, and read by every node."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Double,
    Executable,
    Integer,
    Interval,
    Text,
    case,
    cast,
    exists,
    func,
    literal_column,
    null,
    select,
    type_coerce,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, insert

from ..models.base import utc_now
from ..models.cluster import leaders, producers
from ..models.job import jobs
from ..models.limits import rates
from ..models.queue import EVERY_NODE, queue_settings
from ..types import UTCDateTime
from .rates import WHOLE_QUEUE, clock
from .statement import array, parameter, state, statement, whole_numbers

_SETTINGS = ("started", "paused", "local_limit", "limits")
_ALL: ColumnElement[str] = literal_column(f"'{EVERY_NODE}'")


@statement
def orders() -> Executable:
    """What was asked of `node` in the instance `name`, in one look.

    One row for each settings of a queue, ``(queue, is_own, started, paused, local_limit, limits, null, null)``, in
    which `is_own` says that it is for this node and not for all; one, ``(queue, null, …, seconds)``, for each queue
    that is suspended for so long; and one, ``(null, …, id, null)``, for each of the jobs `running` that is to stop.
    """
    settings = select(
        queue_settings.c.queue,
        (queue_settings.c.node != _ALL).label("is_own"),
        queue_settings.c.started,
        queue_settings.c.paused,
        queue_settings.c.local_limit,
        cast(queue_settings.c.limits, Text).label("limits"),
        cast(null(), BigInteger).label("job_id"),
        cast(null(), Double).label("suspended"),
    ).where(queue_settings.c.name == parameter("name"), queue_settings.c.node.in_([_ALL, parameter("node")]))
    nothing = [cast(null(), of) for of in (Boolean, Boolean, Boolean, Integer, Text)]
    marked = select(cast(null(), Text), *nothing, jobs.c.id, cast(null(), Double)).where(
        jobs.c.id == func.any(whole_numbers("running")),
        jobs.c.cancel_at.is_not(None),
        jobs.c.state == state("executing"),
    )
    left = rates.c.until - clock()
    suspended = select(rates.c.queue, *nothing, cast(null(), BigInteger), left).where(
        rates.c.key == WHOLE_QUEUE, rates.c.until > clock()
    )
    return settings.union_all(suspended, marked)


@statement
def ask() -> Executable:
    """Keep what is asked of `queue`; what is null stays as it was. A blank `node` is all of them.

    What is asked of all nodes replaces what was asked of single ones before: pausing a queue everywhere means
    everywhere. Of `limits`, an object, each key is kept for itself. With `forget`, the local limit is forgotten, except
    where the queue was started with it.
    """
    # Cast, because psycopg leaves the type of a null open.
    given: dict[str, ColumnElement[Any]] = {
        "started": cast(parameter("started", Boolean), Boolean),
        "paused": cast(parameter("paused", Boolean), Boolean),
        "local_limit": cast(parameter("local_limit", Integer), Integer),
    }
    limits = cast(cast(parameter("limits"), Text), JSONB)
    forget = cast(parameter("forget", Boolean), Boolean)
    replaced = (
        update(queue_settings)
        .where(
            parameter("node") == _ALL,
            queue_settings.c.name == parameter("name"),
            queue_settings.c.queue == parameter("queue"),
            queue_settings.c.node != _ALL,
        )
        .values(
            {name: case((value.is_(null()), queue_settings.c[name])) for name, value in given.items()}
            | {"local_limit": case((given["local_limit"].is_(null()) & ~forget, queue_settings.c.local_limit))}
        )
        .returning(queue_settings.c.node)
        .cte("replaced")
    )
    row: list[Any] = [parameter("name"), parameter("queue"), parameter("node"), *given.values(), limits]
    # The CTE is written whether or not it is read from.
    written = insert(queue_settings).from_select(
        ["name", "queue", "node", *_SETTINGS], select(*row), include_defaults=False
    )
    kept: dict[str, Any] = {name: func.coalesce(written.excluded[name], queue_settings.c[name]) for name in given}
    forgotten = forget & queue_settings.c.started.is_not(True)
    kept["local_limit"] = case((~forgotten, kept["local_limit"]))
    both = func.coalesce(queue_settings.c.limits, cast(literal_column("'{}'"), JSONB)).op("||")(written.excluded.limits)
    kept["limits"] = func.coalesce(both, queue_settings.c.limits)
    return (
        written.on_conflict_do_update(
            index_elements=[queue_settings.c.name, queue_settings.c.queue, queue_settings.c.node],
            set_=kept | {"updated_at": utc_now()},
        )
        .returning(queue_settings.c.queue)
        .add_cte(replaced)
    )


@statement
def limits_known() -> Executable:
    """What is known of the limits of `queue`, as text: what was asked of all nodes of the instance `name`, and the
    metas of the producers of any instance that have beaten within a minute."""
    known: ColumnElement[str] = cast(queue_settings.c.limits, Text)
    asked = select(literal_column("true", Boolean).label("is_asked"), known.label("known")).where(
        queue_settings.c.name == parameter("name"),
        queue_settings.c.queue == parameter("queue"),
        queue_settings.c.node == _ALL,
        queue_settings.c.limits.is_not(None),
    )
    lately = producers.c.updated_at > utc_now() - literal_column("interval '1 minute'", Interval)
    metas = select(literal_column("false", Boolean), cast(producers.c.meta, Text)).where(
        producers.c.queue == parameter("queue"), lately
    )
    return asked.union_all(metas)


@statement
def known() -> Executable:
    """The queues of the instance `name` and their nodes: those that run, and those of which something was asked."""
    running = select(producers.c.queue, producers.c.node).where(producers.c.name == parameter("name"))
    asked = select(queue_settings.c.queue, type_coerce(queue_settings.c.node, Text)).where(
        queue_settings.c.name == parameter("name")
    )
    return running.union(asked)


@statement
def has_waiting() -> Executable:
    """Whether jobs of `queue` are available: then it is one, even where no node runs it."""
    return select(exists().where(jobs.c.state == state("available"), jobs.c.queue == parameter("queue")))


@statement
def pulse() -> Executable:
    """The holder of `lease`, and the oldest heartbeat of the producers `uuids`. Null where there is none."""
    holder = select(leaders.c.node).where(leaders.c.name == parameter("lease"), leaders.c.expires_at > utc_now())
    beat = select(func.min(producers.c.updated_at, type_=UTCDateTime())).where(
        cast(producers.c.uuid, Text) == func.any(array("uuids"))
    )
    return select(holder.scalar_subquery().label("holder"), beat.scalar_subquery().label("beat"))
