"""What operators ask of queues and running jobs: written as rows, and read by every node."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Executable,
    Integer,
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
from sqlalchemy.dialects.postgresql import insert

from ..models.base import utc_now
from ..models.cluster import leaders, producers
from ..models.job import jobs
from ..models.queue import EVERY_NODE, queue_settings
from ..types import UTCDateTime
from .statement import array, parameter, state, statement, whole_numbers

_SETTINGS = ("started", "paused", "local_limit")
_ALL: ColumnElement[str] = literal_column(f"'{EVERY_NODE}'")


@statement
def orders() -> Executable:
    """What was asked of `node` in the instance `name`, in one look.

    One row for each settings of a queue, ``(queue, is_own, started, paused, local_limit, null)``, in which `is_own`
    says that it is for this node and not for all; and one, ``(null, …, id)``, for each of the jobs `running` that is
    to stop.
    """
    settings = select(
        queue_settings.c.queue,
        (queue_settings.c.node != _ALL).label("is_own"),
        queue_settings.c.started,
        queue_settings.c.paused,
        queue_settings.c.local_limit,
        cast(null(), BigInteger).label("job_id"),
    ).where(queue_settings.c.name == parameter("name"), queue_settings.c.node.in_([_ALL, parameter("node")]))
    marked = select(
        cast(null(), Text), cast(null(), Boolean), cast(null(), Boolean), cast(null(), Boolean), cast(null(), Integer),
        jobs.c.id,
    ).where(
        jobs.c.id == func.any(whole_numbers("running")),
        jobs.c.cancel_at.is_not(None),
        jobs.c.state == state("executing"),
    )  # fmt: skip
    return settings.union_all(marked)


@statement
def ask() -> Executable:
    """Keep what is asked of `queue`; what is null stays as it was. A blank `node` is all of them.

    What is asked of all nodes replaces what was asked of single ones before: pausing a queue everywhere means
    everywhere.
    """
    # Cast, because psycopg leaves the type of a null open.
    given: dict[str, ColumnElement[Any]] = {
        "started": cast(parameter("started", Boolean), Boolean),
        "paused": cast(parameter("paused", Boolean), Boolean),
        "local_limit": cast(parameter("local_limit", Integer), Integer),
    }
    replaced = (
        update(queue_settings)
        .where(
            parameter("node") == _ALL,
            queue_settings.c.name == parameter("name"),
            queue_settings.c.queue == parameter("queue"),
            queue_settings.c.node != _ALL,
        )
        .values({name: case((value.is_(null()), queue_settings.c[name])) for name, value in given.items()})
        .returning(queue_settings.c.node)
        .cte("replaced")
    )
    row: list[Any] = [parameter("name"), parameter("queue"), parameter("node"), *given.values()]
    # The CTE is written whether or not it is read from.
    written = insert(queue_settings).from_select(
        ["name", "queue", "node", *_SETTINGS], select(*row), include_defaults=False
    )
    kept = {name: func.coalesce(written.excluded[name], queue_settings.c[name]) for name in _SETTINGS}
    return (
        written.on_conflict_do_update(
            index_elements=[queue_settings.c.name, queue_settings.c.queue, queue_settings.c.node],
            set_=kept | {"updated_at": utc_now()},
        )
        .returning(queue_settings.c.queue)
        .add_cte(replaced)
    )


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
