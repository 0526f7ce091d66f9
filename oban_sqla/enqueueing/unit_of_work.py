"""How specs become rows: hooks on every SQLAlchemy session, registered when the package is imported.

* ``before_flush`` claims the pending specs: each is registered with *this flush* as an object that is listed and not
  saved. So the unit of work has something to do even when nothing else is pending (else it would end before
  ``after_flush``, and silently lose the commonest use), and a spec stays an ordinary pending object: where a flush
  fails, or a savepoint is rolled back, it goes the way of the others, and nothing on the session brings it back. How,
  and what happens instead where SQLAlchemy has no such names, is in :mod:`._sqlalchemy`.
* ``transient_to_pending`` claims those that later ``before_flush`` listeners add, and refuses what `merge` makes.
* ``after_flush`` writes the claimed ones: the other objects have their primary keys by then.
* ``before_commit`` sees to those that have stopped meanwhile; ``after_commit`` wakes the runtimes of this process.

The cost for sessions without specs is one pass over their pending objects. Works the same in a ``Session`` and in the
sync session below an ``AsyncSession``.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from sqlalchemy import event
from sqlalchemy.orm import InstanceState, Session, SessionTransaction

from ..errors import InvalidOption
from ..models import JobSpec
from ._sqlalchemy import Claims, claims_of, drop_held, has_held, is_spec, pending_specs
from .batches import flushed_specs, take_flushed, unwritten_is_lost
from .wakeup import announce_anew, forget_noted, wake_noted
from .writer import write

if TYPE_CHECKING:
    from sqlalchemy.orm import UOWTransaction

Watcher = Callable[[Session, list[int]], None]

watcher: ContextVar[Watcher | None] = ContextVar("oban_sqla_watcher", default=None)
"""Called with the ids of the jobs that were written, when their flush is over. Tests run jobs inline with it."""

OWN = "oban_sqla.own"
"""In the session of a running job: the ids of the jobs that it has enqueued, which is a set."""

_FLUSH, _CLAIMS, _WRITTEN = "oban_sqla.flush", "oban_sqla.claims", "oban_sqla.written"


@event.listens_for(Session, "before_flush")
def _claim_pending(session: Session, context: UOWTransaction, objects: Sequence[object] | None) -> None:
    # What a flush that failed has left is of no use to this one.
    session.info.pop(_CLAIMS, None)
    session.info.pop(_WRITTEN, None)
    take_flushed(session)
    session.info[_FLUSH] = weakref.ref(context)
    states = pending_specs(session, objects)
    if states or has_held(session):
        claims = session.info[_CLAIMS] = claims_of(session, context)
        for state in states:
            claims.claim(session, state)


# Raw: with the state instead of the object, which spares every object of every session the conversion.
@event.listens_for(Session, "transient_to_pending", raw=True)
def _admit(session: Session, state: InstanceState[Any]) -> None:
    if not is_spec(state):
        if unwritten_is_lost(state):
            made: Any = state.object
            session.expunge(made)
            _ = made.unwritten  # which says why
        return
    if "kind" not in state.dict:  # a copy that merge made, past __init__
        session.expunge(state.object)
        raise InvalidOption(
            "session.merge(spec): a spec is not a row, so it can't be merged; add it with session.add(spec)"
        )
    # Outside of a flush there is no context, or one that is over and takes no notice.
    if (flush := session.info.get(_FLUSH)) is not None and (context := flush()) is not None:
        if _CLAIMS not in session.info:
            session.info[_CLAIMS] = claims_of(session, context)
        session.info[_CLAIMS].claim(session, state)


@event.listens_for(Session, "after_flush")
def _write_claimed(session: Session, context: UOWTransaction) -> None:
    session.info.pop(_FLUSH, None)  # what is added from here on belongs to the next flush
    claims: Claims | None = session.info.get(_CLAIMS)
    specs = [] if claims is None else claims.take(session)
    specs += flushed_specs(session, specs, context)
    if specs:
        session.info[_WRITTEN] = write(session, specs, context)


@event.listens_for(Session, "after_flush_postexec")
def _tell_written(session: Session, context: UOWTransaction) -> None:
    claims: Claims | None = session.info.pop(_CLAIMS, None)
    if claims is not None:
        claims.finish(session)
    if specs := session.info.pop(_WRITTEN, None):
        tell_of(session, specs)


@event.listens_for(Session, "before_commit")
def _announce_anew(session: Session) -> None:
    if not session.in_nested_transaction():
        announce_anew(session)


@event.listens_for(Session, "after_commit")
def _wake(session: Session) -> None:
    # Also fires for a savepoint's release, and for a session that is joined to an outer transaction. The first is
    # told apart here; for the second nothing was noted.
    if not session.in_nested_transaction():
        wake_noted(session)


@event.listens_for(Session, "after_transaction_end")
def _forget(session: Session, transaction: SessionTransaction) -> None:
    drop_held(session)
    # However it ended: closing a session rolls back without a word to the listeners of rollbacks.
    if transaction.parent is None:
        forget_noted(session)


def tell_of(session: Session, specs: Iterable[JobSpec]) -> None:
    """As :func:`tell`, of the jobs that were written for `specs`."""
    if OWN in session.info or watcher.get() is not None:
        tell(session, [spec.id for spec in specs if spec.id is not None and not spec.conflict])


def tell(session: Session, ids: list[int]) -> None:
    """Note that these jobs were written, in the session of a job; tell the watcher of this context, if there is one."""
    if (own := session.info.get(OWN)) is not None:
        own.update(ids)
    if (watching := watcher.get()) is not None:
        watching(session, ids)
