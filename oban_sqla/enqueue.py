"""Enqueueing by a call instead of ``session.add``."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import Any, overload

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from .errors import InvalidOption
from .models import JobSpec
from .unit_of_work import tell, write


@overload
def enqueue(
    session: AsyncSession, specs: JobSpec | Iterable[JobSpec], /, *more: JobSpec
) -> Awaitable[list[JobSpec]]: ...
@overload
def enqueue(session: Session, specs: JobSpec | Iterable[JobSpec], /, *more: JobSpec) -> list[JobSpec]: ...
def enqueue(session: AsyncSession | Session, specs: JobSpec | Iterable[JobSpec], /, *more: JobSpec) -> Any:
    """Write jobs now, in the session's transaction: ``await enqueue(session, spec)``.

    The session's other pending objects are flushed first, so that :func:`later` works. Jobs become visible, and run,
    when the session commits.

    :param session: an ``AsyncSession`` (await the call) or a ``Session`` (don't).
    :param specs: a spec, or any iterable of specs; an iterator is consumed in chunks of 5,000.
    :param more: further specs.
    :returns: the specs in the order given, each with id, state and conflict.
    :raises InvalidOption: for anything that is no spec.
    """
    if isinstance(session, AsyncSession):
        return session.run_sync(_enqueue, specs, more)
    return _enqueue(session, specs, more)


def _enqueue(session: Session, specs: JobSpec | Iterable[JobSpec], more: tuple[JobSpec, ...]) -> list[JobSpec]:
    if isinstance(specs, JobSpec):
        specs = [specs, *more]
    elif more or not isinstance(specs, list):
        specs = [*specs, *more] if more else specs
    if isinstance(specs, list):
        for spec in specs:
            if _checked(spec) in session:
                session.expunge(spec)
    session.flush()
    return tell(session, write(session, specs if isinstance(specs, list) else map(_checked, specs)))


def _checked(spec: object) -> JobSpec:
    if not isinstance(spec, JobSpec):
        raise InvalidOption(f"enqueue: expected JobSpec objects, got {spec!r}; make them with worker.new(…)")
    return spec
