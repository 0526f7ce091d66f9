"""Queues with limits and partitions: fetching from them, and saying by what they are partitioned."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Double,
    Executable,
    Integer,
    Text,
    cast,
    column,
    func,
    literal_column,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY

from ..models.job import jobs
from ..models.limits import partitions
from .bulk import Bulk
from .fetch import taken
from .functions import Declared, FetchLimited
from .statement import array, parameter, statement, whole_numbers

RING = ("oban_jobs_ring_index", "oban_jobs_ring_executing_index")
"""The indexes without which a partitioned queue can't be fetched from."""

VISITS = 100
"""The most partitions that one fetch looks at; a node goes on where it ended."""

_GIVEN: tuple[tuple[str, Any], ...] = (
    ("queue", Text),
    ("limit", Integer),
    ("attempted_by", ARRAY(Text)),
    ("unknown", ARRAY(Text)),
    ("refused", ARRAY(BigInteger)),
    ("global_limit", Integer),
    ("allowed", Integer),
    ("period", Double),
    ("bucket", Boolean),
    ("parted", Boolean),
    ("part_limit", Integer),
    ("part_allowed", Integer),
    ("part_period", Double),
    ("part_bucket", Boolean),
    ("burst", Boolean),
    ("ring_at", Text),
    ("visits", Integer),
)


def _limited(looks: str) -> Any:
    """What the function gives for these parameters.

    :param looks: whether it only looks.
    """
    # Cast, because psycopg leaves the type of a null open, and a function is chosen by types.
    given = [whole_numbers(name) if name == "refused" else cast(parameter(name, of), of) for name, of in _GIVEN]
    return FetchLimited(*given, literal_column(looks, Boolean)).alias("taken")


@statement
def fetch_limited() -> Executable:
    """Take up to `limit` jobs of `queue` for `attempted_by`, as many as its limits allow, in no particular order.

    Each row has, behind the columns of ``FETCHED``, the place in the ring of partitions at which the next fetch begins,
    or null. A row without an id says that limits hold jobs back: in how many seconds more will be allowed (null: when
    a job has ended), and whether to fetch on at once.

    The commit does not wait for the disk, because it holds the queue's lock: fetches of all nodes would wait for one
    write each, one after the other. No job may begin before :func:`make_durable`.
    """
    columns = [literal_column("taken.ring_at", Text), literal_column("taken.wait", Double)]
    unsafe = select(func.set_config("synchronous_commit", "off", true())).scalar_subquery()
    return (
        select(*taken("taken.job"), *columns, literal_column("taken.more", Boolean))
        .select_from(_limited("false"))
        .where(unsafe.is_not(None))
    )


@statement
def make_durable() -> Executable:
    """Wait until what was committed before is on the disk; `ids` are jobs that were just fetched.

    A lock of a row is the least for whose commit the server waits. One of them is enough, and none waits for a user.
    """
    mine = jobs.c.id == func.any(whole_numbers("ids"))
    return select(jobs.c.id).where(mine).limit(1).with_for_update(key_share=True, skip_locked=True)


@statement
def find_limited() -> Executable:
    """The ids of the jobs that :func:`fetch_limited` would take."""
    job_id: ColumnElement[int] = literal_column("(taken.job).id", BigInteger)
    return select(job_id).select_from(_limited("true")).where(job_id.is_not(None))


def _taken(rows: Sequence[Any]) -> int:
    return sum(row[0] is not None for row in rows)


FETCH_LIMITED = Bulk(fetch_limited, find_limited, count=_taken)


@statement
def partition_by() -> Executable:
    """Partition each of `queues` by its `fields`, the text of an array, where it is not yet. Returns those changed.

    In the order of their names: each is locked.
    """
    columns = (column("queue", Text), column("fields", Text))
    given = func.unnest(array("queues"), array("fields")).table_valued(*columns).render_derived(name="given")
    rows = given.alias("given")
    fields = cast(rows.c.fields, ARRAY(Text))
    before = func.coalesce(partitions.c.by, literal_column("'{}'"))
    wanted = (
        select(rows.c.queue, fields.label("fields"))
        .select_from(rows.outerjoin(partitions, partitions.c.queue == rows.c.queue))
        .where(before != fields)
        .order_by(rows.c.queue)
        .subquery("wanted")
    )
    return select(wanted.c.queue).where(Declared(wanted.c.queue, wanted.c.fields))


def as_array(fields: Sequence[str]) -> str:
    """The text of an array, as :func:`partition_by` takes it."""
    return "{" + ",".join(json.dumps(field, ensure_ascii=False) for field in fields) + "}"
