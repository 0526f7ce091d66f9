"""Acknowledging: what became of the jobs that a node ran.

Every ack is fenced: it counts only while the job is executing, in the same attempt, under the same producer, since the
same moment. The moment tells two runs apart between which the attempt was given back: an ack that was committed
unheard is sent again, and must not end the next run.

A row that another transaction has locked is skipped, and tried again with a later batch: one lock must not hold up the
others. The state is tested as text, so that no partial index can claim the test and the rows are found by their key.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Executable,
    Float,
    Select,
    SmallInteger,
    Text,
    and_,
    case,
    cast,
    column,
    func,
    literal_column,
    null,
    or_,
    select,
    true,
    type_coerce,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

from ..models.base import utc_now
from ..models.job import jobs
from ..types import JobStateType
from .json import EMPTY_ARRAY, EMPTY_OBJECT, kept_errors
from .statement import array, ids, in_states, parameter, seconds_from, statement

PRODUCER: ColumnElement[Any] = literal_column("2")
"""Where in ``attempted_by`` the producer's uuid stands, after the node's name."""

CANCELLED_BY_REQUEST = "cancelled by request"
"""The error of a job that was cancelled from outside."""

_RUNS_AGAIN = ("available", "scheduled", "retryable")

FENCE = (
    column("id", BigInteger),
    column("attempt", SmallInteger),
    column("producer", Text),
    column("attempted_at", TIMESTAMP(timezone=False)),
)
"""The columns that say which run of which job is meant."""

_OUTCOME = (
    column("state", Text),
    column("delay", Float),
    column("burned", SmallInteger),
    column("error", Text),
    column("meta", Text),
)


def _given(*columns: Any) -> Any:
    parameters = (array(c.name, c.type) for c in columns)
    return func.unnest(*parameters).table_valued(*columns).render_derived(name="given").alias("given")


def still_held(given: Any) -> Select[Any]:
    """The job of one `given` run, while it is still that run's."""
    return select(jobs.c.id).where(
        jobs.c.id == given.c.id,
        cast(jobs.c.state, Text) == literal_column("'executing'"),
        jobs.c.attempt == given.c.attempt,
        *_last_run(given),
    )


def _last_run(given: Any) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Whether the `given` run was the last one of its job."""
    same_time = type_coerce(jobs.c.attempted_at, TIMESTAMP()) == given.c.attempted_at
    return jobs.c.attempted_by[PRODUCER] == given.c.producer, same_time


def _locked(given: Any) -> ColumnElement[Any]:
    """Their ids, locked.

    A sub-query that locks can't be turned into a join, so each run is one look-up by key whatever the planner believes
    of the table.
    """
    locked = still_held(given).with_for_update(skip_locked=True).lateral("locked")
    return ids(select(locked.c.id).select_from(given.join(locked, true())))


@statement
def complete() -> Executable:
    """Jobs that simply ended well. Returns the ids that were changed."""
    done = {jobs.c.state: cast("completed", JobStateType), jobs.c.completed_at: utc_now(), jobs.c.cancel_at: null()}
    return update(jobs).where(jobs.c.id == func.any(_locked(_given(*FENCE)))).values(done).returning(jobs.c.id)


@statement
def acknowledge() -> Executable:
    """Jobs with any outcome. Returns the ids that were changed.

    `delay` is seconds until the job is due again (null: leave its time), `burned` is 0 when the attempt is given back,
    `error` and `meta` are JSON texts to add, or null. A job that would run again although it was asked to stop
    while it ran is cancelled: the request may have come after the run's own end.
    """
    outcome = _given(*FENCE, *_OUTCOME)
    o = outcome.c
    stopped = jobs.c.cancel_at.is_not(None) & in_states(o.state, *_RUNS_AGAIN)
    new_state = case((stopped, literal_column("'cancelled'", Text)), else_=o.state)

    def stamp(name: str, when: str) -> ColumnElement[Any]:
        return case((new_state == when, utc_now()), else_=jobs.c[name])

    # What other programs wrote into a row may be of any type; nothing of it may make this statement raise.
    meta = case((func.jsonb_typeof(jobs.c.meta) == "object", jobs.c.meta), else_=EMPTY_OBJECT)
    added = func.coalesce(cast(o.error, JSONB), EMPTY_ARRAY)
    noted = kept_errors().op("||")(added).op("||")(case((stopped, cancellation()), else_=EMPTY_ARRAY))
    values = {
        jobs.c.state: cast(new_state, JobStateType),
        jobs.c.completed_at: stamp("completed_at", "completed"),
        jobs.c.cancelled_at: stamp("cancelled_at", "cancelled"),
        jobs.c.discarded_at: stamp("discarded_at", "discarded"),
        jobs.c.scheduled_at: func.coalesce(utc_now() + seconds_from(o.delay), jobs.c.scheduled_at),
        jobs.c.attempt: func.greatest(jobs.c.attempt - 1 + o.burned, 0),
        jobs.c.errors: case((o.error.is_(null()) & ~stopped, jobs.c.errors), else_=noted),
        jobs.c.meta: case((o.meta.is_(null()), jobs.c.meta), else_=meta.op("||")(cast(o.meta, JSONB))),
        jobs.c.cancel_at: null(),
    }
    # The whole fence again: a batch may hold two acks of one job, and the older one must not lend its outcome.
    mine = (
        (jobs.c.id == o.id)
        & (jobs.c.attempt == o.attempt)
        & (jobs.c.attempted_by[PRODUCER] == o.producer)
        & (type_coerce(jobs.c.attempted_at, TIMESTAMP()) == o.attempted_at)
        & (jobs.c.id == func.any(_locked(_given(*FENCE))))
    )
    return update(jobs).where(mine).values(values).returning(jobs.c.id)


def cancellation() -> ColumnElement[Any]:
    """What is added to the errors of a job that was cancelled from outside, in Oban's form."""
    at = func.to_char(utc_now(), 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')
    entry = func.jsonb_build_object("attempt", jobs.c.attempt, "at", at, "error", CANCELLED_BY_REQUEST)
    return func.jsonb_build_array(entry)


@statement
def wait_for() -> Executable:
    """Wait until no other transaction holds the job `id`, and hold it. For a job's own transaction, not for a lane."""
    return select(jobs.c.id).where(jobs.c.id == parameter("id", BigInteger)).with_for_update()


@statement
def not_held() -> Executable:
    """Of these runs, the ids whose job is still theirs, and which no other transaction is changing at the moment."""
    given = _given(*FENCE)
    locked = still_held(given).with_for_update(skip_locked=True).lateral("locked")
    return select(locked.c.id).select_from(given.join(locked, true()))


@statement
def still_ours() -> Executable:
    """Of these runs, the ids whose job is still theirs: an ack that changed nothing met a lock, or was fenced out."""
    given = _given(*FENCE)
    ours = still_held(given).limit(1).lateral("ours")
    return select(ours.c.id).select_from(given.join(ours, true()))


@statement
def committed_by() -> Executable:
    """Of these runs, those whose own commit has written how they ended: the answer was lost. Their ids, and the states.

    A snooze has given the attempt back, and may be over.
    """
    given = _given(*FENCE)
    state = cast(jobs.c.state, Text).label("state")
    completed = and_(state == literal_column("'completed'"), jobs.c.attempt == given.c.attempt)
    snoozed = and_(in_states(state, "scheduled", "available"), jobs.c.attempt == given.c.attempt - literal_column("1"))
    found = select(jobs.c.id, state).where(jobs.c.id == given.c.id, or_(completed, snoozed), *_last_run(given))
    ended = found.limit(1).lateral("ended")
    return select(ended.c.id, ended.c.state).select_from(given.join(ended, true()))
