"""What the jobs themselves tell the doctor. Each by an index or a sample, however many there are."""

from typing import Any

from sqlalchemy import (
    REAL,
    ColumnElement,
    Executable,
    Float,
    Integer,
    Text,
    case,
    cast,
    func,
    literal_column,
    select,
    tablesample,
    true,
    tuple_,
    type_coerce,
    union_all,
)

from ..models import SchemaVersion
from ..models.base import utc_now
from ..models.job import jobs
from ..options.encryption import MARK
from .statement import array, in_states, parameter, seconds_from, state, statement


def _since(moment: ColumnElement[Any]) -> ColumnElement[Any]:
    """Seconds since then; null for an infinite time, which can't be subtracted."""
    return cast(func.extract("epoch", case((func.isfinite(moment), utc_now() - moment))), Float)


@statement
def schema_version() -> Executable:
    """Of which version the tables are; null when nothing says so."""
    return select(func.max(SchemaVersion.version))


@statement
def heads() -> Executable:
    """The oldest available job of each queue and priority, and for how many seconds it has been due.

    A skip scan: one descent of the fetch index for each pair, of which up to `most` are visited.
    """
    columns = (jobs.c.queue, jobs.c.priority, jobs.c.scheduled_at)
    order = (jobs.c.queue, jobs.c.priority, jobs.c.scheduled_at, jobs.c.id)
    first = select(*columns).where(jobs.c.state == state("available")).order_by(*order).limit(1).subquery("first")
    visited = select(first, literal_column("1", Integer).label("number")).cte("visited", recursive=True)
    onward = (
        select(*columns)
        .where(
            jobs.c.state == state("available"),
            tuple_(jobs.c.queue, jobs.c.priority) > tuple_(visited.c.queue, visited.c.priority),
        )
        .order_by(*order)
        .limit(1)
        .lateral("onward")
    )
    following = select(onward, visited.c.number + 1).select_from(visited.join(onward, true()))
    found = visited.union_all(following.where(visited.c.number < parameter("most", Integer)))
    return select(found.c.queue, found.c.priority, _since(found.c.scheduled_at).label("seconds"))


@statement
def overdue() -> Executable:
    """The scheduled or retryable job that has been due longest, if that is `grace` seconds: its queue, and for how many
    seconds (null: since ever)."""
    waits = in_states(jobs.c.state, "scheduled", "retryable")
    late = jobs.c.scheduled_at <= utc_now() - seconds_from(parameter("grace", Float))
    return (
        select(jobs.c.queue, _since(jobs.c.scheduled_at).label("seconds"))
        .where(waits, late)
        .order_by(jobs.c.scheduled_at, jobs.c.id)
        .limit(1)
    )


@statement
def given_back() -> Executable:
    """The workers of jobs that nodes have given back, and that wait: due within `within` seconds, or available. A node
    does not fetch jobs of a worker that it does not know: where no other node runs, they stay available.

    `mark` is the key of the meta that says why: ``unknown_worker`` or ``missing_key``. One row each: its name, and how
    many jobs. Of the scheduled and of the available jobs the first `most` are looked at.
    """
    looked_at = (type_coerce(jobs.c.worker, Text).label("worker"), jobs.c.meta)
    soon = (
        select(*looked_at)
        .where(
            jobs.c.state == state("scheduled"),
            jobs.c.scheduled_at <= utc_now() + seconds_from(parameter("within", Float)),
        )
        .order_by(jobs.c.scheduled_at)
        .limit(parameter("most", Integer))
        .subquery()
    )
    due = (
        select(*looked_at)
        .where(jobs.c.state == state("available"))
        .order_by(jobs.c.queue, jobs.c.priority, jobs.c.scheduled_at, jobs.c.id)
        .limit(parameter("most", Integer))
        .subquery()
    )
    waits = union_all(soon.select(), due.select()).subquery("waits")
    # The operator finds the name in arrays and texts, too.
    is_object = func.jsonb_typeof(waits.c.meta) == literal_column("'object'")
    marked = waits.c.meta.op("?")(parameter("mark"))
    return select(waits.c.worker, func.count().label("jobs")).where(is_object, marked).group_by(waits.c.worker)


@statement
def unencrypted() -> Executable:
    """Of the workers `names`, which encrypt their args: how many waiting jobs have args that are not.

    One row per worker that has some. Of the available, of the scheduled and of the executing jobs the first `most` are
    looked at.
    """
    groups = (("available",), ("scheduled", "retryable"), ("executing",))
    looked = union_all(
        *(
            select(type_coerce(jobs.c.worker, Text).label("worker"), jobs.c.args)
            .where(in_states(jobs.c.state, *states) if len(states) > 1 else jobs.c.state == state(states[0]))
            .limit(parameter("most", Integer))
            .subquery()
            .select()
            for states in groups
        )
    ).subquery("looked")
    token = looked.c.args.op("->>")(literal_column(f"'{MARK}'", Text))
    is_plain = func.coalesce(func.left(token, 5) != literal_column("'gAAAA'"), true())
    return (
        select(looked.c.worker, func.count().label("jobs"))
        .where(looked.c.worker == func.any(array("names")), is_plain)
        .group_by(looked.c.worker)
    )


@statement
def sample() -> Executable:
    """Some jobs, `percent` of the table's blocks: how many, and what they take as they are stored.

    One row: bytes of args on average and at most, and of errors at most; null for no jobs.
    """
    some: Any = tablesample(jobs, func.system(parameter("percent", REAL)), name="some")
    args, errors = func.pg_column_size(some.c.args), func.pg_column_size(some.c.errors)
    return select(
        func.count().label("jobs"),
        cast(func.avg(args), Float).label("args"),
        func.max(args).label("largest_args"),
        func.max(errors).label("largest_errors"),
    ).select_from(some)
