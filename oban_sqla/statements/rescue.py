"""Giving back: jobs that no node runs become available again."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Executable,
    Float,
    Integer,
    Numeric,
    Select,
    Text,
    and_,
    case,
    cast,
    func,
    literal_column,
    null,
    or_,
    select,
    update,
)

from ..models.base import utc_now
from ..models.job import jobs
from ..options.backoff import BACKOFF_BASE, MAX_EXPONENT
from ..types import JobStateType
from .ack import PRODUCER
from .bulk import Bulk
from .json import EMPTY_OBJECT, kept_errors
from .lead import holds_lease
from .statement import array, ids, not_refused, parameter, seconds_from, state, statement


def ran_by() -> ColumnElement[str]:
    """Under which producer a job runs; blank where another program left that out."""
    return func.coalesce(func.lower(jobs.c.attempted_by[PRODUCER]), literal_column("''"))


def _lost() -> Select[tuple[int]]:
    return (
        select(jobs.c.id)
        .where(
            jobs.c.state == state("executing"),
            jobs.c.queue == parameter("queue"),
            jobs.c.attempted_by[PRODUCER] == parameter("producer"),
            jobs.c.id != func.all(array("held", BigInteger)),
            not_refused(jobs.c.id),
        )
        .order_by(jobs.c.id)
        .limit(parameter("limit", Integer))
        .with_for_update(skip_locked=True)
    )


@statement
def reconcile() -> Executable:
    """Up to `limit` jobs executing under `producer` that it does not hold: it never heard of having fetched them.

    Their attempt is given back; those whose end was asked for are cancelled. Returns their ids.
    """
    cancelled = jobs.c.cancel_at.is_not(None)
    back = {
        jobs.c.state: cast(case((cancelled, "cancelled"), else_="available"), JobStateType),
        jobs.c.attempt: func.greatest(jobs.c.attempt - 1, 0),
        jobs.c.cancelled_at: case((cancelled, utc_now()), else_=jobs.c.cancelled_at),
        jobs.c.cancel_at: null(),
    }
    still = (jobs.c.id == func.any(ids(_lost()))) & (jobs.c.state == state("executing"))
    return update(jobs).where(still).values(back).returning(jobs.c.id)


@statement
def find_lost() -> Executable:
    """The ids of the jobs that :func:`reconcile` would give back."""
    return _lost()


RECONCILE = Bulk(reconcile, find_lost)


def _of_dead() -> ColumnElement[bool]:
    began = func.coalesce(jobs.c.attempted_at, jobs.c.inserted_at)
    old = began <= utc_now() - seconds_from(parameter("patience", Float))
    return and_(ran_by() == func.any(array("dead")), or_(ran_by() != literal_column("''"), old), holds_lease())


def _orphaned() -> Select[tuple[int]]:
    return (
        select(jobs.c.id)
        .where(jobs.c.state == state("executing"), _of_dead(), not_refused(jobs.c.id))
        .order_by(jobs.c.id)
        .limit(parameter("limit", Integer))
        .with_for_update(skip_locked=True)
    )


@statement
def rescue() -> Executable:
    """Up to `limit` executing jobs of the producers `dead` find a new state.

    ``cancelled`` when that was asked for, ``discarded`` when no attempt is left, else ``available``; a job that was
    rescued before is ``retryable`` with the usual backoff, because it may be what kills the nodes. Jobs without a
    producer (a blank in `dead`) must have begun `patience` seconds ago. One row each: its id, queue, state,
    worker and attempt. Nothing that another program may have written into a row makes this raise.
    """
    cancelled = jobs.c.cancel_at.is_not(None)
    exhausted = jobs.c.attempt >= jobs.c.max_attempts
    before = _rescued_before()
    waits = ~cancelled & ~exhausted & (before > 0)
    new = case((cancelled, "cancelled"), (exhausted, "discarded"), (waits, "retryable"), else_="available")
    values = {
        jobs.c.state: cast(new, JobStateType),
        jobs.c.cancelled_at: case((cancelled, utc_now()), else_=jobs.c.cancelled_at),
        jobs.c.discarded_at: case((~cancelled & exhausted, utc_now()), else_=jobs.c.discarded_at),
        jobs.c.scheduled_at: case((waits, utc_now() + seconds_from(_backoff())), else_=jobs.c.scheduled_at),
        jobs.c.meta: _object(jobs.c.meta).op("||")(func.jsonb_build_object("rescued", before + 1)),
        jobs.c.errors: _with_error("the node that ran it died, or lost its way to the database: "),
        jobs.c.cancel_at: null(),
    }
    # The state as text, as in an ack: the rows are found by their key. What ended before it was locked stays as it is.
    still = (jobs.c.id == func.any(ids(_orphaned()))) & (cast(jobs.c.state, Text) == literal_column("'executing'"))
    changed = update(jobs).where(still, _of_dead()).values(values)
    return changed.returning(jobs.c.id, jobs.c.queue, cast(jobs.c.state, Text), jobs.c.worker, jobs.c.attempt)


@statement
def find_orphaned() -> Executable:
    """The ids of the jobs that :func:`rescue` would rescue."""
    return _orphaned()


RESCUE = Bulk(rescue, find_orphaned)


def _exhausted() -> ColumnElement[bool]:
    return (jobs.c.attempt >= jobs.c.max_attempts) & holds_lease()


def _passed_over() -> Select[tuple[int]]:
    return (
        select(jobs.c.id)
        .where(jobs.c.state == state("available"), _exhausted(), not_refused(jobs.c.id))
        .limit(parameter("limit", Integer))
        .with_for_update(skip_locked=True)
    )


@statement
def discard_exhausted() -> Executable:
    """Up to `limit` available jobs without an attempt left, which no fetch takes, are discarded.

    One row each: its id, queue, worker and attempt.
    """
    values = {
        jobs.c.state: state("discarded"),
        jobs.c.discarded_at: utc_now(),
        jobs.c.errors: _with_error("it was available with no attempt left; last run by "),
    }
    still = (jobs.c.id == func.any(ids(_passed_over()))) & (jobs.c.state == state("available"))
    changed = update(jobs).where(still, _exhausted()).values(values)
    return changed.returning(jobs.c.id, jobs.c.queue, jobs.c.worker, jobs.c.attempt)


@statement
def find_passed_over() -> Executable:
    """The ids of the jobs that :func:`discard_exhausted` would discard."""
    return _passed_over()


DISCARD_EXHAUSTED = Bulk(discard_exhausted, find_passed_over)


def _object(value: ColumnElement[Any]) -> ColumnElement[Any]:
    return case((func.jsonb_typeof(value) == "object", value), else_=EMPTY_OBJECT)


def _rescued_before() -> ColumnElement[int]:
    count = _object(jobs.c.meta).op("->")("rescued")
    number = func.least(func.greatest(func.trunc(cast(count, Numeric)), 0), 1_000_000)
    return case((func.jsonb_typeof(count) == "number", cast(number, Integer)), else_=literal_column("0", Integer))


def _backoff() -> ColumnElement[float]:
    """:func:`oban_sqla.options.backoff.default_backoff`, in SQL."""
    scaled = func.round(cast(jobs.c.attempt, Float) / jobs.c.max_attempts * MAX_EXPONENT)
    exponent = case((jobs.c.max_attempts <= MAX_EXPONENT, cast(jobs.c.attempt, Float)), else_=scaled)
    wait = BACKOFF_BASE + func.power(2.0, func.least(exponent, MAX_EXPONENT))
    return cast(wait * (1.0 + func.random() * 0.1), Float)


def _with_error(message: str) -> ColumnElement[Any]:
    """The errors of a job and one more, in Oban's form."""
    by = func.left(func.array_to_string(jobs.c.attempted_by, "/"), 300)
    at = func.to_char(utc_now(), 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')
    entry = func.jsonb_build_object("attempt", jobs.c.attempt, "at", at, "error", func.concat(message, by))
    return kept_errors().op("||")(func.jsonb_build_array(entry))
