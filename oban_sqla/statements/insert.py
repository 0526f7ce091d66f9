"""Inserting jobs: arrays in, ids out, one statement a chunk.

Rows without a key go without ON CONFLICT, which would cost them a WAL record each. Rows with a key come sorted by it,
so that two transactions with overlapping keys can't deadlock; what conflicts is left out of the answer, and
:data:`winners` finds the jobs that were there, in a new snapshot, without locking them.
"""

from sqlalchemy import (
    Executable,
    Float,
    LargeBinary,
    SmallInteger,
    Text,
    case,
    cast,
    column,
    func,
    insert,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP
from sqlalchemy.dialects.postgresql import insert as insert_or

from ..models.base import utc_now
from ..models.job import jobs
from ..types import JobStateType
from .statement import array, seconds_from, state, statement

CHUNK = 5_000

_COLUMNS = (
    column("worker", Text),
    column("queue", Text),
    column("args", Text),
    column("meta", Text),
    column("tags", Text),
    column("priority", SmallInteger),
    column("max_attempts", SmallInteger),
    column("at", TIMESTAMP(timezone=False)),
    column("delay", Float),
)
_KEYED = (column("uniq_key", LargeBinary), column("uniq_mask", SmallInteger))
_INSERTED = ("worker", "queue", "args", "meta", "tags", "priority", "max_attempts", "scheduled_at", "state")


def _insert(keyed: bool) -> Executable:
    columns = _COLUMNS + _KEYED if keyed else _COLUMNS
    given = func.unnest(*(array(c.name, c.type) for c in columns))
    rows = given.table_valued(*columns, with_ordinality="place").render_derived(name="given").alias("given")
    r = rows.c
    due = func.coalesce(r.at, utc_now() + seconds_from(r.delay), utc_now())
    waits = due > utc_now()
    values = [
        r.worker,
        r.queue,
        cast(r.args, JSONB),
        cast(r.meta, JSONB),
        cast(r.tags, ARRAY(Text)),
        r.priority,
        r.max_attempts,
        due,
        cast(case((waits, state("scheduled")), else_=state("available")), JobStateType),
    ]
    returned = (jobs.c.id, (jobs.c.state == state("scheduled")).label("waits"))
    if not keyed:
        plain = insert(jobs).from_select(_INSERTED, select(*values).order_by(r.place), include_defaults=False)
        return plain.returning(*returned)
    values += [r.uniq_key, r.uniq_mask]
    source = select(*values).order_by(r.uniq_key.asc().nulls_first(), r.place)
    return (
        insert_or(jobs)
        .from_select([*_INSERTED, "uniq_key", "uniq_mask"], source, include_defaults=False)
        .on_conflict_do_nothing(index_elements=[jobs.c.uniq_key], index_where=jobs.c.uniq_key.is_not(None))
        .returning(*returned, jobs.c.uniq_key)
    )


@statement
def insert_plain() -> Executable:
    """Jobs without a key, in the order given."""
    return _insert(keyed=False)


@statement
def insert_keyed() -> Executable:
    """Jobs of which some have a key: those without come first, then by key; conflicting ones are left out."""
    return _insert(keyed=True)


@statement
def winners() -> Executable:
    """The jobs that hold these keys now."""
    return select(jobs.c.uniq_key, jobs.c.id, cast(jobs.c.state, Text).label("state")).where(
        jobs.c.uniq_key == func.any(array("keys", LargeBinary))
    )


@statement
def notify() -> Executable:
    """Send each payload on its channel when the transaction commits."""
    sent = func.unnest(array("channels"), array("payloads"))
    rows = sent.table_valued(column("channel", Text), column("payload", Text)).render_derived(name="sent")
    return select(func.pg_notify(rows.c.channel, rows.c.payload))


__all__ = ["CHUNK", "insert_keyed", "insert_plain", "notify", "winners"]
