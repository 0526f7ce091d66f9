"""Inserting jobs: arrays in, ids out, one statement a chunk.

Rows without a key go without ON CONFLICT, which would cost them a WAL record each. Rows with a key come sorted by it,
so that two transactions with overlapping keys can't deadlock; what conflicts is left out of the answer, and
:data:`winners` finds the jobs that were there, in a new snapshot, without locking them.

The process that enqueues need not know how a queue is partitioned: each statement looks, and writes the key, or null.
The default of the column is another value, so rows of programs that don't know it are marked by that alone.
"""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from sqlalchemy import (
    CTE,
    Column,
    ColumnElement,
    Executable,
    Integer,
    TableValuedAlias,
    Text,
    case,
    cast,
    column,
    false,
    func,
    insert,
    literal_column,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.dialects.postgresql import insert as insert_or

from ..models.base import utc_now
from ..models.columns import is_brought, options_of
from ..models.job import jobs, mapped
from ..models.limits import partitions
from ..types import JobStateType
from .functions import PartitionKey
from .sent import GROUPED, KEY, KIND, KIND_WITHOUT_KEYS, PLACED, ROW, UNSAID, Sent, UniqueKey
from .statement import array, parameter, seconds_from, state, statement

CHUNK = 5_000
"""Jobs that one statement inserts at the most."""


_BROUGHT = tuple(one for one in mapped if is_brought(one))
INSERTED = (*(one.name for one in _BROUGHT), "state", "partition_key")
"""The columns of a new job that get a value, but for its key."""

COMPOSED = ("chain_key", "chunk_key", "workflow_id", "batch_id", "node_name")
"""Those that a job has beside them that belongs to others."""


def unnested(name: str, place: str, sent: Sequence[Sent]) -> TableValuedAlias:
    """Arrays as rows, with their place among them."""
    given = func.unnest(*(array(one.name, one.type) for one in sent))
    columns = [column(one.name, one.type) for one in sent]
    return given.table_valued(*columns, with_ordinality=place).render_derived(name=name).alias(name)


KEYS_LOCK = 0x6F62756B
"""The first of the two keys of the advisory locks of :func:`insert_in_turn`: "obuk". The second is a bucket of keys."""


def _insert(keyed: bool, composed: bool = False, in_turn: bool = False) -> Executable:
    row, kind = (*ROW, *PLACED) if composed else ROW, GROUPED if composed else ()
    rows = unnested("given", "place", (*row, KEY) if keyed else row)
    kinds = unnested("kinds", "kind", (*(KIND if keyed else KIND_WITHOUT_KEYS), *kind))
    r, k = rows.c, kinds.c
    values = [*values_of(r.args, k), partition_key_of(r.args, k)]
    columns = [*INSERTED]
    if composed:
        values[INSERTED.index("state")] = state_of(values, r.suspended | k.chain_by.is_not(None))
        values += [*group_keys_of(r.args, k), r.workflow_id, r.batch_id, r.node_name]
        columns += COMPOSED
    source = rows.join(kinds, k.kind == r.kind).outerjoin(partitions, partitions.c.queue == k.queue)
    if not keyed:
        chosen = select(*values).select_from(source).order_by(r.place)
        returned = _returned(composed)
        made = insert(jobs).from_select(columns, chosen, include_defaults=False).returning(*returned).cte("made")
        # Two arrays instead of a row a job: the client pays for each row that it gets.
        return select(func.array_agg(made.c.id), func.array_agg(made.c.waits))
    order = (r.place,) if in_turn else (r.uniq_key.asc().nulls_first(), r.place)
    if in_turn:
        source = source.join(_held(), true())
    chosen = select(*values, r.uniq_key, k.uniq_mask).select_from(source).order_by(*order)
    made = (
        insert_or(jobs)
        .from_select([*columns, "uniq_key", "uniq_mask"], chosen, include_defaults=False)
        .on_conflict_do_nothing(index_elements=[jobs.c.uniq_key], index_where=jobs.c.uniq_key.is_not(None))
        .returning(*_returned(composed), jobs.c.uniq_key)
        .cte("made")
    )
    # The keys tell which were left out, so they are worth sending only where some were.
    some_left_out = func.count() < func.cardinality(array(KEY.name, KEY.type))
    found = case((some_left_out, func.array_agg(made.c.uniq_key)))
    return select(func.array_agg(made.c.id), func.array_agg(made.c.waits), found)


def _held() -> CTE:
    """One row, when this transaction has the locks of all `buckets`."""
    buckets = func.unnest(array("buckets", Integer())).column_valued("bucket")
    lock = func.pg_advisory_xact_lock(literal_column(str(KEYS_LOCK)), buckets)
    return select(func.count(lock).label("locks")).cte("held")


def values_of(args: ColumnElement[Any], kind: Any) -> list[ColumnElement[Any]]:
    """What goes into the columns of :data:`INSERTED`, but for the last.

    :param kind: the parameters of :data:`KIND` by name.
    """
    due = func.coalesce(kind.at, utc_now() + seconds_from(kind.delay), utc_now())
    special: dict[str, ColumnElement[Any]] = {"worker": kind.worker, "args": cast(args, JSONB), "scheduled_at": due}
    values = [special[one.name] if one.name in special else _value(kind, one) for one in _BROUGHT]
    return [*values, cast(case((due > utc_now(), state("scheduled")), else_=state("available")), JobStateType)]


def _value(kind: Any, of: Column[Any]) -> ColumnElement[Any]:
    [option] = options_of(of)
    return value_of(getattr(kind, option.parameter), of)


def value_of(sent: ColumnElement[Any], of: Column[Any]) -> ColumnElement[Any]:
    """What was sent for a column, in its type."""
    travels_as_text = isinstance(of.type, JSONB | ARRAY)
    return cast(sent, of.type) if travels_as_text else sent


def partition_key_of(args: ColumnElement[Any], kind: Any) -> ColumnElement[Any]:
    """The key of a job in its queue's present partition; null where it has none."""
    fields = (kind.worker, cast(args, JSONB), cast(kind.meta, JSONB))
    key = PartitionKey(partitions.c.epoch, partitions.c.by, *fields)
    return case((partitions.c.by != literal_column("'{}'"), key))


def group_keys_of(args: ColumnElement[Any], kind: Any) -> list[ColumnElement[Any]]:
    """The keys of a job in its chain and in its chunks; null where it has none.

    :param kind: the parameters of :data:`GROUPED` by name, beside those of a kind.
    """
    return [
        case((by.is_not(None), prefix + PartitionKey(literal_column("0"), cast(by, ARRAY(Text)), *fields)))
        for fields in [(kind.worker, cast(args, JSONB), cast(kind.meta, JSONB))]
        for prefix, by in ((kind.chain, kind.chain_by), (literal_column("''", Text), kind.chunk_by))
    ]


def state_of(values: Sequence[ColumnElement[Any]], suspended: ColumnElement[bool]) -> ColumnElement[Any]:
    """The state of a new job: ``suspended``, or by the time at which it is due.

    :param values: those of :data:`INSERTED`.
    """
    due = values[INSERTED.index("scheduled_at")]
    found = case((suspended, state("suspended")), (due > utc_now(), state("scheduled")), else_=state("available"))
    return cast(found, JobStateType)


def _returned(composed: bool = False) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    if composed:
        return jobs.c.id, cast(jobs.c.state, Text).label("waits")
    return (jobs.c.id, (jobs.c.state == state("scheduled")).label("waits"))


@statement
def insert_one() -> Executable:
    """One job without a key. Returns its id, and whether it waits for its time.

    Arrays of one, and their join, cost the client and the server as much again as the row does.
    """
    kind = SimpleNamespace(**{one.name: parameter(one.name, one.type) for one in KIND_WITHOUT_KEYS})
    made = select(*values_of(parameter("args"), kind), _looked_up_key(kind))
    return insert(jobs).from_select(INSERTED, made, include_defaults=False).returning(*_returned())


@statement
def insert_bare() -> Executable:
    """The same for a job that says nothing of :data:`~oban_sqla.statements.sent.UNSAID`: most of those that come alone.

    What it leaves out has its default by the table, and is neither sent, parsed nor compared.
    """
    sent = {one.name: parameter(one.name, one.type) for one in KIND_WITHOUT_KEYS if one.name not in UNSAID}
    key = _looked_up_key(SimpleNamespace(**sent, meta=literal_column("'{}'")))
    values = sent | {"args": cast(parameter("args"), JSONB), "partition_key": key}
    return insert(jobs).values(values).returning(jobs.c.id, false().label("waits"))


def _looked_up_key(kind: Any) -> ColumnElement[Any]:
    key = partition_key_of(parameter("args"), kind)
    return select(key).where(partitions.c.queue == kind.queue).scalar_subquery()


@statement
def insert_plain() -> Executable:
    """Jobs without a key. Returns one row: their ids, and whether each waits for its time, in the order given."""
    return _insert(keyed=False)


@statement
def insert_keyed() -> Executable:
    """Jobs of which some have a key: those without come first, then by key; conflicting ones are left out.

    Returns one row: their ids, whether each waits for its time, and their keys; null where all conflict.
    """
    return _insert(keyed=True)


@statement
def insert_composed() -> Executable:
    """As :func:`insert_plain`, where some jobs belong to a flow, a batch, a chain or a chunk. Returns states, too."""
    return _insert(keyed=False, composed=True)


@statement
def insert_composed_keyed() -> Executable:
    """As :func:`insert_keyed`, where some jobs belong to a flow, a batch, a chain or a chunk. Returns states, too."""
    return _insert(keyed=True, composed=True)


@statement
def insert_in_turn() -> Executable:
    """As :func:`insert_composed_keyed`, in the order given, which is that of the ids: by these a chain goes.

    Two transactions that insert some of the same keys in different orders would deadlock, so each takes locks of its
    keys before, in order: of buckets of them, because a server has room for a few thousand locks.
    """
    return _insert(keyed=True, composed=True, in_turn=True)


@statement
def clock() -> Executable:
    """The time of the transaction, by which a delay counts, and a new job is due."""
    return select(utc_now())


@statement
def winners() -> Executable:
    """The jobs that hold these keys now."""
    return select(jobs.c.uniq_key, jobs.c.id, cast(jobs.c.state, Text).label("state")).where(
        jobs.c.uniq_key == func.any(array("keys", UniqueKey))
    )
