"""Assertions about the jobs that are enqueued, as the session's own transaction sees them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from typing import Any, overload

from sqlalchemy import select
from sqlalchemy.ext.asyncio import async_session
from sqlalchemy.orm import Session
from sqlalchemy.util import await_only
from typing_extensions import Unpack

from ..enqueueing.sessions import AnySession, SomeAsyncSession, SomeSession
from ..errors import InvalidOption
from ..models import Job
from ..options.duration import seconds
from ..telemetry.words import counted_jobs
from .filters import Filters, Wanted
from .idle import doubt
from .sessions import in_session

MOST_COMPARED = 500
MOST_SHOWN = 10
POLL = 0.02
"""Seconds between two looks of an assertion with a timeout."""


@overload
def assert_enqueued(
    session: SomeAsyncSession, *, count: int | None = None, timeout: float | timedelta = 0, **filters: Unpack[Filters]
) -> Awaitable[list[Job]]: ...
@overload
def assert_enqueued(
    session: SomeSession, *, count: int | None = None, timeout: float | timedelta = 0, **filters: Unpack[Filters]
) -> list[Job]: ...
def assert_enqueued(
    session: AnySession, *, count: int | None = None, timeout: float | timedelta = 0, **filters: Unpack[Filters]
) -> Any:
    """Assert that a job is enqueued: ``await assert_enqueued(session, worker=send_welcome, args={"user_id": 7})``.

    The session is flushed first, so that pending specs count too.

    :param session: an ``AsyncSession`` (await the call) or a ``Session`` (don't), or a scoped session.
    :param count: the number of jobs that must match, 1 or more. Default: at least one.
    :param timeout: seconds or timedelta to wait for them, where other transactions commit them: as soon as they are
        there the call returns. A transaction above ``READ COMMITTED`` never sees them. Default 0: none.
    :param worker: the worker, or its name.
    :param queue: the name of its queue.
    :param args: a part of its args, compared by PostgreSQL's ``@>``: ``{"user": {"id": 7}}`` also matches args with
        further keys. Values that aren't JSON (dates, UUIDs, enums, models) are compared in the form they are stored in.
    :param meta: a part of its meta, compared in the same way.
    :param tags: tags that it has; it may have others.
    :param priority: its priority, 0 to 9.
    :param state: one state or several. Default: ``available``, ``scheduled`` and ``suspended``, which is written but
        has not run. A job that failed is ``retryable``; name that state to find it.
    :param scheduled_at: the aware datetime at which it is due.
    :param delta: seconds or timedelta by which `scheduled_at` may differ. Default 5 s. A delay counts from the start
        of the transaction, by the database's clock.
    :returns: the jobs that match, the newest last: ``[job] = await assert_enqueued(…)``.
    :raises AssertionError: if no job matches. The message lists the jobs that are enqueued, the nearest first, and how
        each differs.
    :raises InvalidOption: for a misspelt filter ("did you mean …"), or a value that is not valid.
    :raises InvalidArgs: for args or meta that JSON can't represent.

    Works as Oban's ``assert_enqueued``.
    """
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
        raise InvalidOption(f"assert_enqueued: count must be 1 or more, got {count!r}; use refute_enqueued for none")
    within = seconds(timeout, "assert_enqueued: timeout")
    return in_session(session, "assert_enqueued", _assert, Wanted(filters, "assert_enqueued"), count, within)


@overload
def refute_enqueued(
    session: SomeAsyncSession, *, timeout: float | timedelta = 0, **filters: Unpack[Filters]
) -> Awaitable[None]: ...
@overload
def refute_enqueued(session: SomeSession, *, timeout: float | timedelta = 0, **filters: Unpack[Filters]) -> None: ...
def refute_enqueued(session: AnySession, *, timeout: float | timedelta = 0, **filters: Unpack[Filters]) -> Any:
    """Assert that no job is enqueued that matches: ``await refute_enqueued(session, worker=send_welcome)``.

    The session is flushed first, so that pending specs count too. Without filters no job at all may be enqueued.

    :param session: an ``AsyncSession`` (await the call) or a ``Session`` (don't), or a scoped session.
    :param timeout: seconds or timedelta in which no other transaction may commit one, either. Default 0: none.
    :param worker: the worker, or its name.
    :param queue: the name of its queue.
    :param args: a part of its args, compared by PostgreSQL's ``@>``: ``{"user": {"id": 7}}`` also matches args with
        further keys. Values that aren't JSON (dates, UUIDs, enums, models) are compared in the form they are stored in.
    :param meta: a part of its meta, compared in the same way.
    :param tags: tags that it has; it may have others.
    :param priority: its priority, 0 to 9.
    :param state: one state or several. Default: ``available``, ``scheduled`` and ``suspended``, which is written but
        has not run. A job that failed is ``retryable``; name that state to find it.
    :param scheduled_at: the aware datetime at which it is due.
    :param delta: seconds or timedelta by which `scheduled_at` may differ. Default 5 s. A delay counts from the start
        of the transaction, by the database's clock.
    :raises AssertionError: if a job matches. The message lists the matching jobs. A warning names a worker, queue or
        argument that does not exist, because no job can have it.
    :raises InvalidOption: for a misspelt filter, or a value that is not valid.
    :raises InvalidArgs: for args or meta that JSON can't represent.
    """
    within = seconds(timeout, "refute_enqueued: timeout")
    return in_session(session, "refute_enqueued", _refute, Wanted(filters, "refute_enqueued"), within)


@overload
def all_enqueued(session: SomeAsyncSession, **filters: Unpack[Filters]) -> Awaitable[list[Job]]: ...
@overload
def all_enqueued(session: SomeSession, **filters: Unpack[Filters]) -> list[Job]: ...
def all_enqueued(session: AnySession, **filters: Unpack[Filters]) -> Any:
    """The jobs that are enqueued and match: ``await all_enqueued(session, queue="mail")``.

    The session is flushed first, so that pending specs count too.

    :param session: an ``AsyncSession`` (await the call) or a ``Session`` (don't), or a scoped session.
    :param worker: the worker, or its name.
    :param queue: the name of its queue.
    :param args: a part of its args, compared by PostgreSQL's ``@>``: ``{"user": {"id": 7}}`` also matches args with
        further keys. Values that aren't JSON (dates, UUIDs, enums, models) are compared in the form they are stored in.
    :param meta: a part of its meta, compared in the same way.
    :param tags: tags that it has; it may have others.
    :param priority: its priority, 0 to 9.
    :param state: one state or several. Default: ``available``, ``scheduled`` and ``suspended``, which is written but
        has not run. A job that failed is ``retryable``; name that state to find it.
    :param scheduled_at: the aware datetime at which it is due.
    :param delta: seconds or timedelta by which `scheduled_at` may differ. Default 5 s. A delay counts from the start
        of the transaction, by the database's clock.
    :returns: the jobs, the newest last; an empty list if none matches.
    :raises InvalidOption: for a misspelt filter, or a value that is not valid.
    :raises InvalidArgs: for args or meta that JSON can't represent.
    """
    return in_session(session, "all_enqueued", _find, Wanted(filters, "all_enqueued"))


def _find(session: Session, wanted: Wanted) -> list[Job]:
    session.flush()
    query = select(Job).where(*wanted.conditions.values()).order_by(Job.id)
    return [job for job in session.scalars(query.execution_options(populate_existing=True)) if wanted.fits(job)]


def _find_within(session: Session, wanted: Wanted, within: float, enough: Callable[[list[Job]], bool]) -> list[Job]:
    """The jobs that match, as soon as they are `enough`, or as they are after `within` seconds."""
    end = time.monotonic() + within
    while not enough(found := _find(session, wanted)) and time.monotonic() < end:
        if async_session(session) is None:
            time.sleep(POLL)
        else:
            await_only(asyncio.sleep(POLL))
    return found


def _assert(session: Session, wanted: Wanted, count: int | None, within: float) -> list[Job]:
    def enough(found: list[Job]) -> bool:
        return bool(found) and count in (None, len(found))

    found = _find_within(session, wanted, within, enough)
    if enough(found):
        return found
    jobs = "a job" if count is None else counted_jobs(count)
    message = f"expected {jobs} to be enqueued{wanted}; there is {len(found) or 'none'}"
    raise AssertionError("\n".join([message, *_listed(found), *_others(session, wanted)]))


def _refute(session: Session, wanted: Wanted, within: float) -> None:
    if found := _find_within(session, wanted, within, bool):
        message = f"expected no job to be enqueued{wanted}; there is {len(found)}"
        raise AssertionError("\n".join([message, *_listed(found)]))
    doubt(wanted)


def _listed(jobs: list[Job]) -> Iterable[str]:
    for job in jobs[:MOST_SHOWN]:
        yield f"  {_name(job)} matches: args {job.args!r}"
    if len(jobs) > MOST_SHOWN:
        yield f"  … and {len(jobs) - MOST_SHOWN} more"


def _others(session: Session, wanted: Wanted) -> Iterable[str]:
    """The newest jobs that don't match, the nearest first."""
    names = list(wanted.conditions)
    columns = [condition.label(f"fits_{name}") for name, condition in wanted.conditions.items()]
    newest = select(Job, *columns).order_by(Job.id.desc()).limit(MOST_COMPARED)
    compared = [
        (
            job,
            [
                name
                for name, fits in zip(names, fitting, strict=True)
                if not (fits and (name != "args" or wanted.fits(job)))
            ],
        )
        for job, *fitting in session.execute(newest)
    ]
    others = [(job, differing) for job, differing in compared if differing]
    others.sort(key=lambda other: ("worker" in other[1], len(other[1])))
    if not compared:
        yield "No job is in the table, as this session's transaction sees it."
    elif others:
        yield "Other jobs, the nearest first:"
    for job, differing in others[:MOST_SHOWN]:
        yield f"  {_name(job)}: {'; '.join(wanted.difference(job, name) for name in differing)}"
    if len(others) > MOST_SHOWN:
        yield f"  … and {len(others) - MOST_SHOWN} more"


def _name(job: Job) -> str:
    return f"job {job.id}, {job.state}, {job.worker} in queue {job.queue!r}"
