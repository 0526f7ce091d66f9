"""The heartbeat: the rows of a node's producers, and the locks that its listening connection holds for them."""

import uuid

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Executable,
    Float,
    Text,
    case,
    cast,
    column,
    delete,
    exists,
    func,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID, insert

from ..models.base import utc_now
from ..models.cluster import producers
from ..models.job import jobs
from .lead import holds_lease
from .rescue import ran_by
from .statement import array, parameter, state, statement, whole_numbers

KEEPALIVES = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
"""Of the connection that holds the locks: a node that is cut off loses them within half a minute."""


def lock_key(of: uuid.UUID) -> int:
    """The advisory lock of a producer: the first 64 bits of its uuid as a signed ``bigint``.

    ``pg_locks`` shows the upper half of it as ``classid`` and the lower as ``objid``.
    """
    return int.from_bytes(of.bytes[:8], "big", signed=True)


@statement
def claim() -> Executable:
    """Take the locks `keys` for as long as this connection lives, and let the server notice when its client is gone.

    Shared, because a connection of ours that the server has not yet given up may hold them still: they must not
    wait for it, nor be without. Returns for each whether it was got.
    """
    keys = func.unnest(whole_numbers("keys")).table_valued(column("key", BigInteger)).render_derived(name="keys")
    settings = (func.set_config(name, value, False) for name, value in KEEPALIVES.items())
    return select(func.pg_try_advisory_lock_shared(keys.c.key), keys.c.key, *settings)


@statement
def unlock() -> Executable:
    """Give the locks `keys` back, of producers that have ended. Returns for each whether it was held."""
    keys = func.unnest(whole_numbers("keys")).table_valued(column("key", BigInteger)).render_derived(name="keys")
    return select(func.pg_advisory_unlock_shared(keys.c.key))


@statement
def beat() -> Executable:
    """Say that the producers of a node are alive, in one statement.

    Inserts what is missing: the table is UNLOGGED, and empty after a crash of the server. Returns the uuids.
    """
    columns = (column("uuid", Text), column("queue", Text), column("meta", Text))
    given = func.unnest(array("uuids"), array("queues"), array("metas")).table_valued(*columns)
    rows = given.render_derived(name="given").alias("given").c
    values = select(
        cast(rows.uuid, UUID),
        parameter("name"),
        parameter("node"),
        rows.queue,
        cast(rows.meta, JSONB),
    ).order_by(rows.uuid)
    written = insert(producers).from_select(["uuid", "name", "node", "queue", "meta"], values, include_defaults=False)
    return written.on_conflict_do_update(
        index_elements=[producers.c.uuid], set_={"updated_at": utc_now(), "meta": written.excluded.meta}
    ).returning(cast(producers.c.uuid, Text))


@statement
def retire() -> Executable:
    """Remove the rows of producers that have stopped."""
    theirs = cast(producers.c.uuid, Text) == func.any(array("uuids"))
    return delete(producers).where(theirs).returning(producers.c.queue)


_LOCKED = text("""
    SELECT lpad(to_hex(classid::bigint), 8, '0') || lpad(to_hex(objid::bigint), 8, '0')
    FROM pg_catalog.pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND granted
      AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
""").columns(column("bits", Text))


def silence() -> ColumnElement[float]:
    """Seconds since a producer's last heartbeat; null for an infinite time, which another program wrote."""
    # An infinite time can't be subtracted.
    silent = case((func.isfinite(producers.c.updated_at), func.extract("epoch", utc_now() - producers.c.updated_at)))
    return cast(silent, Float)


def is_locked(key: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether the lock of the producer with this uuid, as text, is held. Locks are read and never tried: trying would
    take them for a moment."""
    return func.substr(func.replace(key, "-", ""), 1, 16).in_(_LOCKED)


@statement
def look() -> Executable:
    """Every producer that has a row or an executing job, and what speaks for its being alive.

    One row each: its uuid as text (blank: jobs without a producer); its last heartbeat as text, null when it has no
    row; for how many seconds it has been silent; its meta as text; whether its lock is held.
    """
    running = select(ran_by().label("key")).where(jobs.c.state == state("executing")).distinct().subquery("running")
    key = func.coalesce(_uuid(), running.c.key)
    return select(
        key, cast(producers.c.updated_at, Text), silence(), cast(producers.c.meta, Text), is_locked(key)
    ).select_from(producers.join(running, _uuid() == running.c.key, full=True))


@statement
def bury() -> Executable:
    """Remove the rows of the producers `dead` whose last heartbeat is still that of `beats`, if they run no jobs."""
    columns = (column("key", Text), column("beat", Text))
    given = func.unnest(array("dead"), array("beats")).table_valued(*columns).render_derived(name="given")
    rows = given.alias("given").c
    silent = exists().where(rows.key == _uuid(), rows.beat == cast(producers.c.updated_at, Text))
    empty = ~exists().where(jobs.c.state == state("executing"), ran_by() == _uuid())
    return delete(producers).where(silent, empty, holds_lease()).returning(_uuid())


def _uuid() -> ColumnElement[str]:
    return cast(producers.c.uuid, Text)
