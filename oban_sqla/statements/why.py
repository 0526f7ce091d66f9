"""Why one job does not run: what its row says, and what stands before it. All by an index, and none counts far."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Executable,
    Float,
    Integer,
    SmallInteger,
    Text,
    case,
    cast,
    func,
    literal_column,
    null,
    select,
    text,
    true,
    tuple_,
    type_coerce,
    union_all,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP, aggregate_order_by

from ..models import QueueSettings
from ..models.base import utc_now
from ..models.batch import batches
from ..models.dependency import deps
from ..models.job import jobs
from ..models.workflow import workflows
from ..types import UTCDateTime
from .functions import FlowOutcome
from .holding import has_turn, is_holding
from .marks import HAS_BEGUN
from .rescue import ran_by
from .statement import is_open, parameter, state, statement
from .times import FIRST, LAST

LONGEST_ERROR = 2_000
"""Characters that are read of an error; its last line is at the end."""


def _time(name: str) -> ColumnElement[Any]:
    """The column where Python has such a time, else null."""
    value = type_coerce(jobs.c[name], UTCDateTime())
    return case((jobs.c[name].between(FIRST, LAST), value)).label(name)


def _meta(key: str) -> ColumnElement[Any]:
    return jobs.c.meta.op("->>")(literal_column(f"'{key}'", Text)).label(key)


@statement
def row_of() -> Executable:
    """The job `id`, whatever another program wrote into it.

    Times that Python does not have are null; `never` says that its time never comes. `xid` is the transaction that
    locked or changed the row last, as text: ``"0"`` for none.
    """
    errors = case((func.jsonb_typeof(jobs.c.errors) == "array", jobs.c.errors))
    own_deadline = jobs.c.meta.op("->")(literal_column("'deadline'"))
    plain = (
        jobs.c.id, jobs.c.queue, jobs.c.attempt, jobs.c.max_attempts, jobs.c.priority, jobs.c.workflow_id,
        jobs.c.partition_key, jobs.c.chain_key, jobs.c.chunk_key, jobs.c.batch_id,
    )  # fmt: skip
    times = ("inserted_at", "scheduled_at", "attempted_at", "cancel_at", "completed_at", "discarded_at", "cancelled_at")
    return select(
        *plain,
        type_coerce(jobs.c.worker, Text).label("worker"),
        cast(jobs.c.state, Text).label("state"),
        *(_time(name) for name in times),
        (jobs.c.scheduled_at > LAST).label("never"),
        jobs.c.attempted_by[1].label("node"),
        ran_by().label("producer"),
        func.right(errors.op("->")(literal_column("-1")).op("->>")(literal_column("'error'")), LONGEST_ERROR).label(
            "error"
        ),
        _meta("rescued"),
        _meta("snoozed"),
        _meta("unknown_worker"),
        _meta("unknown_executor"),
        _meta("missing_key"),
        _meta("debounce"),
        _meta("debounced"),
        _meta("weight"),
        case((func.jsonb_typeof(own_deadline) == "number", cast(own_deadline, Text))).label("deadline"),
        jobs.c.meta.op("?|")(literal_column("'{" + ",".join(HAS_BEGUN) + "}'::text[]")).label("has_begun"),
        _meta("callback"),
        case((_meta("callback").is_not(None), _meta("batch_id"))).label("callback_of"),
        literal_column("xmax::text", Text).label("xid"),
        type_coerce(utc_now(), UTCDateTime()).label("now"),
    ).where(jobs.c.id == parameter("id", BigInteger))


@statement
def edges_of() -> Executable:
    """What the job `id` waits for in its workflow: names of what is open, how many, how many failed of it, and all."""
    before, flows = jobs.alias("before"), workflows.alias("flow")
    name = func.coalesce(before.c.node_name, flows.c.node_name, flows.c.name, cast(deps.c.dep_id, Text))
    is_open = deps.c.met == literal_column("'o'")
    has_failed = FlowOutcome(deps.c.dep_id) == literal_column("'f'")
    names = func.array_agg(aggregate_order_by(name, deps.c.dep_id)).filter(is_open)
    return (
        select(
            func.coalesce(names, literal_column("'{}'::text[]")).label("names"),
            func.count().filter(is_open).label("open"),
            func.count().filter(is_open & has_failed).label("failed"),
            func.count().label("all"),
        )
        .select_from(
            deps.outerjoin(before, before.c.id == deps.c.dep_id).outerjoin(flows, flows.c.id == -deps.c.dep_id)
        )
        .where(deps.c.job_id == parameter("id", BigInteger))
    )


@statement
def batch_of() -> Executable:
    """The batch `id`: its name, whether it has finished, and how many of its jobs have not, up to `most`."""
    unfinished = (
        select(jobs.c.id)
        .where(jobs.c.batch_id == batches.c.id, is_open(jobs.c.state))
        .limit(parameter("most", Integer))
        .correlate(batches)
        .subquery()
    )
    count = select(func.count()).select_from(unfinished).scalar_subquery()
    finished = batches.c.finished_at.is_not(None)
    columns = (batches.c.id, batches.c.name, finished.label("finished"), count.label("open"))
    return select(*columns).where(batches.c.id == parameter("id", BigInteger))


@statement
def newest() -> Executable:
    """The highest id of a job; null when there is none."""
    return select(func.max(jobs.c.id))


@statement
def settings_of() -> Executable:
    """What was asked of `queue`, in every instance: of which node (blank: all), whether it is `started` and `paused`
    (null where that was not asked), and when."""
    row = (QueueSettings.node, QueueSettings.started, QueueSettings.paused, QueueSettings.updated_at)
    return select(*row).where(QueueSettings.queue == parameter("queue"))


@statement
def crowd() -> Executable:
    """What stands before a job of `queue` at `priority`, `scheduled_at` and `id`: two rows.

    ``ahead``: how many available jobs come first; ``executing``: how many run, and for how many seconds the oldest one.
    Both are counted up to `most`.
    """
    place = tuple_(jobs.c.priority, jobs.c.scheduled_at, jobs.c.id)
    own = (parameter("priority", SmallInteger), parameter("scheduled_at", TIMESTAMP), parameter("id", BigInteger))
    most = parameter("most", Integer)
    ahead = (
        select(jobs.c.id)
        .where(
            jobs.c.state == state("available"),
            jobs.c.queue == parameter("queue"),
            place < tuple_(*own),
            jobs.c.id != parameter("id", BigInteger),  # it may have become more urgent since it was read
        )
        .limit(most)
        .subquery("ahead")
    )
    began = jobs.c.attempted_at
    running = (
        select(case((func.isfinite(began), utc_now() - began)).label("age"))
        .where(jobs.c.state == state("executing"), jobs.c.queue == parameter("queue"))
        .limit(most)
        .subquery("running")
    )
    oldest = cast(func.extract("epoch", func.max(running.c.age)), Float)
    count, nothing = func.count(literal_column("*")).label("jobs"), cast(null(), Float).label("oldest")
    return union_all(
        select(literal_column("'ahead'", Text).label("what"), count, nothing).select_from(ahead),
        select(literal_column("'executing'", Text), count, oldest).select_from(running),
    )


@statement
def holder() -> Executable:
    """What has the transaction `xid` open; no row when it has ended.

    One row each: the backend's process id (null for a prepared transaction), its role, application and state, for how
    many seconds the transaction is open, and the name under which it was prepared. What is null may only be hidden.
    """
    return text("""
        SELECT l.pid, a.usename::text, a.application_name, a.state,
               extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, p.prepared))::float8 AS open, p.gid
        FROM pg_catalog.pg_locks l
        LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
        LEFT JOIN pg_catalog.pg_prepared_xacts p ON p.transaction = l.transactionid
        WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted
          AND l.transactionid::text = :in_xid
    """)


@statement
def probe() -> Executable:
    """Lock the job `id` as a fetch would, for the caller to roll back: no row when it is locked already."""
    return select(true()).where(jobs.c.id == parameter("id", BigInteger)).with_for_update(skip_locked=True)


@statement
def bounds() -> Executable:
    """For the rest of the transaction: the planner keeps to the indexes, no statement takes more than `limit` ms,
    and none waits longer than a second for a lock on a table.

    The settings of a transaction do not leak through a pooler.
    """
    settings = {"enable_seqscan": "off", "jit": "off", "plan_cache_mode": "force_custom_plan", "lock_timeout": "1000"}
    fixed = (func.set_config(name, value, True) for name, value in settings.items())
    return select(*fixed, func.set_config("statement_timeout", parameter("limit"), True))


@statement
def before_in_chain() -> Executable:
    """What a job `id` of the chain `key` waits for: the job that has its turn, or that holds the chain, or the first
    that waits. Returns its id, state, and how many of the chain wait before `id`, up to 1,000."""
    first, key = jobs.alias("first"), parameter("key")
    waiting = (
        select(jobs.c.id)
        .where(jobs.c.chain_key == key, jobs.c.state == state("suspended"), jobs.c.id < parameter("id", BigInteger))
        .limit(1_000)
        .subquery()
    )
    count = select(func.count()).select_from(waiting).scalar_subquery()
    before = (first.c.state == state("suspended")) & (first.c.id < parameter("id", BigInteger))
    found: list[Any] = [
        select(first.c.id, cast(first.c.state, Text).label("state"), literal_column(str(rank), Integer).label("rank"))
        .where(first.c.chain_key == key, which)
        .order_by(*order)
        .limit(1)
        for rank, (which, order) in enumerate(
            ((has_turn(first), ()), (is_holding(first), ()), (before, (first.c.chain_key, first.c.id)))
        )
    ]
    which = union_all(*found).subquery()
    return select(which.c.id, which.c.state, count.label("waiting")).order_by(which.c.rank).limit(1)
