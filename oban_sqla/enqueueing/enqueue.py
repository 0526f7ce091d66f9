"""Enqueueing by a call instead of ``session.add``."""

from __future__ import annotations

from collections.abc import Awaitable, Container, Iterable, Iterator
from typing import Any, overload

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from ..errors import InvalidOption
from ..models import Batch, JobSpec, Workflow
from ..options.instance import is_instance, told
from . import flow_events  # noqa: F401  # pyright: ignore[reportUnusedImport]  # it listens to sessions
from .batches import belonging
from .sessions import AnySession, SomeAsyncSession, SomeSession, current_session, named
from .unit_of_work import tell_of
from .writer import write


@overload
def enqueue(
    session: SomeAsyncSession, specs: JobSpec | Iterable[JobSpec], /, *more: JobSpec, batch: Batch | None = None
) -> Awaitable[list[JobSpec]]: ...
@overload
def enqueue(
    session: SomeSession, specs: JobSpec | Iterable[JobSpec], /, *more: JobSpec, batch: Batch | None = None
) -> list[JobSpec]: ...
def enqueue(
    session: AnySession, specs: JobSpec | Iterable[JobSpec], /, *more: JobSpec, batch: Batch | None = None
) -> Any:
    """Write jobs now, in the session's transaction: ``await enqueue(session, spec)``.

    The session's other pending objects are flushed first, so that :func:`later` works. The jobs can run when the
    session commits.

    :param session: an ``AsyncSession`` (await the call) or a ``Session`` (don't), or a scoped session of either.
    :param specs: a spec, or any iterable of specs; an iterator is consumed in chunks of 5,000. Of unique jobs give a
        list where other transactions may enqueue the same ones: their order is that of all, so that none deadlock.
    :param more: further specs.
    :param batch: the :class:`Batch`, written before, to which they belong. It is locked until the transaction ends, and
        its callbacks wait for that. Default: none.
    :returns: the specs in the given order, with ``id``, ``state`` and ``conflict`` filled in.
    :raises InvalidOption: for an object that is not a :class:`JobSpec`, or a spec that is pending in another session;
        and for a batch that is not written or has finished.
    """
    found = current_session(session, "enqueue")
    if isinstance(found, AsyncSession):
        return named("enqueue", found.run_sync(_enqueue, specs, more, batch))
    return _enqueue(found, specs, more, batch)


def _enqueue(
    session: Session, specs: JobSpec | Iterable[JobSpec], more: tuple[JobSpec, ...], batch: Batch | None
) -> list[JobSpec]:
    if not isinstance(specs, JobSpec) and (not isinstance(specs, Iterable) or is_instance(specs)):
        raise _no_spec(specs)
    several: Iterable[JobSpec] = [specs] if isinstance(specs, JobSpec) else specs
    given = [*several, *more] if more else several
    flushed: set[JobSpec] = {obj for obj in session.new if isinstance(obj, JobSpec)}
    session.flush()
    if batch is not None:
        given = belonging(session, batch, given)
    asked: dict[JobSpec, None] = {}

    def unwritten() -> Iterator[JobSpec]:
        for spec in given:
            if _is_new(spec, session, asked):
                asked[spec] = None
                if spec not in flushed:
                    yield spec

    written = write(session, list(unwritten()) if isinstance(given, list) else unwritten())
    tell_of(session, written)
    return list(asked)


def _is_new(spec: JobSpec, session: Session, asked: Container[object]) -> bool:
    """Whether `spec` was not asked for before; takes it out of the session, which would write it once more."""
    if not isinstance(spec, JobSpec):
        raise _no_spec(spec)
    other = spec.session
    if other is session:
        session.expunge(spec)
    elif other is not None:
        raise InvalidOption(f"enqueue: {spec!r} is pending in another session, which will write it too; expunge it")
    return spec not in asked


def _no_spec(given: object) -> InvalidOption:
    is_whole = isinstance(given, Batch | Workflow)
    advice = "add it to a session: session.add(…)" if is_whole else "make them with worker.new(…)"
    return InvalidOption(f"enqueue: expected JobSpec objects, got {told(given)}; {advice}")
