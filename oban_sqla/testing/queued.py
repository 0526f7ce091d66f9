"""Whether the code can run the jobs that a test has enqueued or inserted."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, overload

from sqlalchemy.orm import Session

from ..enqueueing.sessions import AnySession, SomeAsyncSession, SomeSession
from ..insight.queued import compare
from .sessions import connection_of, in_session


@overload
def check_queued(session: SomeAsyncSession, /) -> Awaitable[None]: ...
@overload
def check_queued(session: SomeSession, /) -> None: ...
def check_queued(session: AnySession, /) -> Any:
    """Assert that the registered workers can run every job that waits: ``await check_queued(session)``.

    Insert rows as an older version of the program wrote them, and this fails when a worker was renamed without
    ``aliases=``, or a parameter was changed without ``upcast=``. ``oban-sqla check`` does the same for a database.

    :param session: an ``AsyncSession`` (await the call) or a ``Session`` (don't), or a scoped session of either.
    :raises AssertionError: with each worker, how many of its jobs can't run, and why.
    """
    return in_session(session, "check_queued", _check)


def _check(session: Session) -> None:
    session.flush()
    misfits = compare(connection_of(session)).misfits
    if misfits:
        lines = (f"{one.worker}: {one.jobs} (ids {one.ids}): {one.reason}" for one in misfits)
        raise AssertionError("waiting jobs that no worker can run:\n" + "\n".join(lines))
