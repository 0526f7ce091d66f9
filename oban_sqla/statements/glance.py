"""Jobs and queues for a page that is read every two seconds: nothing here counts far, or reads what has no index."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    ColumnElement,
    Double,
    Executable,
    Float,
    Integer,
    Text,
    case,
    cast,
    func,
    literal_column,
    select,
    text,
    true,
    union_all,
)

from ..models.base import utc_now
from ..models.job import jobs
from .search import last_error
from .statement import in_states, parameter, seconds_from, state, statement

ENDED = ("completed", "cancelled", "discarded")
_ALONE = ("available", "executing", "suspended", *ENDED)


@statement
def bounded_reads() -> Executable:
    """For the rest of the transaction: it reads only, by index, no statement takes longer than `limit`, a text with its
    unit, and waits for a lock longer than a second."""
    settings: dict[str, ColumnElement[Any]] = {
        "transaction_read_only": literal_column("'on'"),
        "statement_timeout": parameter("limit"),
        "lock_timeout": literal_column("'1s'"),
        "jit": literal_column("'off'"),
        "enable_seqscan": literal_column("'off'"),
        "enable_bitmapscan": literal_column("'off'"),  # it reads an index to its end before the first row
        "application_name": literal_column("'oban_sqla web'"),
    }
    return select(*(func.set_config(name, given, true()) for name, given in settings.items()))


@statement
def states() -> Executable:
    """How many jobs are in each state, each counted up to `most`. Scheduled and retryable ones share an index, of which
    so many are looked at together."""
    most = parameter("most", Integer)
    counts: list[Any] = []
    for name in _ALONE:
        found = select(jobs.c.id).where(jobs.c.state == state(name)).limit(most).subquery(f"of_{name}")
        counted = select(literal_column(f"'{name}'", Text).label("state"), func.count().label("jobs"))
        counts.append(counted.select_from(found))
    staged = (
        select(jobs.c.state)
        .where(in_states(jobs.c.state, "scheduled", "retryable"))
        .order_by(jobs.c.scheduled_at, jobs.c.id)
        .limit(most)
        .subquery("staged")
    )
    return union_all(*counts, select(cast(staged.c.state, Text), func.count()).group_by(staged.c.state))


SIZES = text("""
    SELECT c.relname AS name, c.reltuples::float8 AS rows
    FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid = to_regclass(:jobs) AND c.relname = ANY(:names)
""")
"""How many rows the indexes of the jobs table had when the table was last analysed."""

COMMON = text("""
    SELECT s.attname AS column, coalesce(s.most_common_vals::text::text[], s.most_common_elems::text::text[]) AS found
    FROM pg_catalog.pg_stats s
    JOIN pg_catalog.pg_class c ON c.relname = s.tablename
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = s.schemaname
    WHERE c.oid = to_regclass(:jobs) AND s.attname IN ('queue', 'worker', 'tags')
""")
"""The queues, workers and tags that the statistics of the jobs table name."""

TABLES = text(r"""
    SELECT c.relname AS name, c.reltuples::float8 AS rows, pg_table_size(c.oid) AS table,
           pg_indexes_size(c.oid) AS indexes, pg_stat_get_dead_tuples(c.oid) AS dead
    FROM pg_catalog.pg_class c
    WHERE c.relnamespace = (SELECT relnamespace FROM pg_catalog.pg_class WHERE oid = to_regclass(:jobs))
      AND c.relname LIKE 'oban\_%' AND c.relkind = 'r'
    ORDER BY pg_total_relation_size(c.oid) DESC, c.relname
""")
"""The tables of this package, and how large they are."""


@statement
def queues() -> Executable:
    """The queues that have available jobs: how many, counted up to `most`, and since how many seconds the first of each
    priority is due, of which the largest. Each queue is one look at the fetch index."""
    first = (
        select(func.min(jobs.c.queue).label("queue"))
        .where(jobs.c.state == state("available"))
        .cte("names", recursive=True)
    )
    later = select(func.min(jobs.c.queue)).where(jobs.c.state == state("available"), jobs.c.queue > first.c.queue)
    names = first.union_all(select(later.scalar_subquery()).where(first.c.queue.is_not(None)))
    own = (jobs.c.state == state("available")) & (jobs.c.queue == names.c.queue)
    waiting = select(jobs.c.id).where(own).limit(parameter("most", Integer)).correlate(names).subquery("waiting")
    counted: Any = select(func.count()).select_from(waiting).correlate(names)
    priorities = func.generate_series(0, 9).table_valued("priority").render_derived(name="priorities")
    due = (
        select(jobs.c.scheduled_at)
        .where(own, jobs.c.priority == priorities.c.priority)
        .order_by(jobs.c.scheduled_at)
        .limit(1)
        .correlate(names, priorities)
        .scalar_subquery()
    )
    oldest: Any = select(func.min(due)).select_from(priorities).correlate(names)
    age = func.extract("epoch", utc_now() - func.nullif(oldest.scalar_subquery(), literal_column("'-infinity'")))
    return select(
        names.c.queue, counted.scalar_subquery().label("jobs"), cast(age, Float).label("oldest")
    ).where(names.c.queue.is_not(None))  # fmt: skip


@statement
def running_by_node() -> Executable:
    """How many jobs of each queue run on each node, of up to `most`."""
    executing = (
        select(jobs.c.queue, jobs.c.attempted_by[1].label("node"))
        .where(jobs.c.state == state("executing"))
        .limit(parameter("most", Integer))
        .subquery("executing")
    )
    rows = select(executing.c.queue, executing.c.node, func.count().label("jobs"))
    return rows.group_by(executing.c.queue, executing.c.node)


@statement
def ended() -> Executable:
    """How many jobs of each queue ended in each final state within `seconds`, of the last `most` in each state; and
    within how many seconds these did."""
    since = utc_now() - seconds_from(parameter("seconds", Float))
    found: list[Any] = []
    for name in ENDED:
        at = jobs.c[f"{name}_at"]
        rows = (
            select(jobs.c.queue, at.label("at"))
            .where(jobs.c.state == state(name), at > since)
            .order_by(at.desc())
            .limit(parameter("most", Integer))
            .subquery(f"of_{name}")
        )
        first = cast(func.extract("epoch", utc_now() - func.min(rows.c.at)), Float).label("within")
        counts = select(
            rows.c.queue, literal_column(f"'{name}'", Text).label("state"), func.count().label("jobs"), first
        )
        found.append(counts.group_by(rows.c.queue))
    return union_all(*found)


@statement
def due() -> Executable:
    """How many of the first `most` scheduled and retryable jobs are due within `seconds`, by state."""
    soon = utc_now() + seconds_from(parameter("seconds", Float))
    staged = (
        select(jobs.c.state, jobs.c.scheduled_at)
        .where(in_states(jobs.c.state, "scheduled", "retryable"), jobs.c.scheduled_at <= soon)
        .order_by(jobs.c.scheduled_at, jobs.c.id)
        .limit(parameter("most", Integer))
        .subquery("staged")
    )
    return select(cast(staged.c.state, Text).label("state"), func.count().label("jobs")).group_by(staged.c.state)


@statement
def failures() -> Executable:
    """The newest failed jobs, of each of both kinds up to `most`: state, id, worker, queue, when it failed, in seconds
    before now, and the end of its last error.

    Retryable ones are looked for among the first `window` that are scheduled or retryable.
    """
    tail = func.right(last_error(jobs.c.errors), 300)
    dead = (
        select(jobs.c.id, jobs.c.worker, jobs.c.queue, jobs.c.discarded_at.label("at"), tail.label("tail"))
        .where(jobs.c.state == state("discarded"))
        .order_by(jobs.c.discarded_at.desc())
        .limit(parameter("most", Integer))
        .subquery("dead")
    )
    staged = (
        select(
            jobs.c.id, jobs.c.worker, jobs.c.queue, jobs.c.attempted_at.label("at"), jobs.c.errors,
            jobs.c.state.label("state"),
        )
        .where(in_states(jobs.c.state, "scheduled", "retryable"))
        .order_by(jobs.c.scheduled_at, jobs.c.id)
        .limit(parameter("window", Integer))
        .subquery("staged")
    )  # fmt: skip
    again = (
        select(staged.c.id, staged.c.worker, staged.c.queue, staged.c.at,
               func.right(last_error(staged.c.errors), 300).label("tail"))
        .where(staged.c.state == state("retryable"))
        .limit(parameter("most", Integer))
        .subquery("again")
    )  # fmt: skip
    both: list[Any] = []
    for name, rows in (("discarded", dead), ("retryable", again)):
        age: ColumnElement[Any] = cast(func.extract("epoch", utc_now() - rows.c.at), Double)
        columns = (rows.c.id, cast(rows.c.worker, Text).label("worker"), rows.c.queue, age.label("age"), rows.c.tail)
        both.append(select(literal_column(f"'{name}'", Text).label("state"), *columns))
    return union_all(*both)


@statement
def lately() -> Executable:
    """The last `most` runs of `worker` that ended, of the newest `window` jobs: how they ended, when, in seconds before
    now, and for how many seconds they ran."""
    newest = (
        select(jobs.c.id, jobs.c.worker, jobs.c.state, jobs.c.attempted_at, jobs.c.completed_at, jobs.c.discarded_at)
        .order_by(jobs.c.id.desc())
        .limit(parameter("window", Integer))
        .subquery("newest")
    )
    end = func.coalesce(newest.c.completed_at, newest.c.discarded_at)
    return (
        select(
            newest.c.id,
            cast(newest.c.state, Text).label("state"),
            cast(func.extract("epoch", utc_now() - end), Double).label("age"),
            cast(func.extract("epoch", end - newest.c.attempted_at), Double).label("ran"),
        )
        .where(cast(newest.c.worker, Text) == parameter("worker"), in_states(newest.c.state, "completed", "discarded"))
        .limit(parameter("most", Integer))
    )


@statement
def args_keys() -> Executable:
    """The keys of the arguments of the newest `most` jobs."""
    newest = select(jobs.c.args).order_by(jobs.c.id.desc()).limit(parameter("most", Integer)).subquery("newest")
    of_objects = case((func.jsonb_typeof(newest.c.args) == literal_column("'object'"), newest.c.args))
    key = func.jsonb_object_keys(of_objects).label("key")
    return select(key).distinct().order_by(key).limit(100)


@statement
def is_queue_of_newest() -> Executable:
    """Whether one of the newest `most` jobs is in `queue`."""
    newest = select(jobs.c.queue).order_by(jobs.c.id.desc()).limit(parameter("most", Integer)).subquery("newest")
    return select(select(newest.c.queue).where(newest.c.queue == parameter("queue", Text)).exists())
