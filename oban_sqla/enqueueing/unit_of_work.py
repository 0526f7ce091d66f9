"""How specs become rows: hooks on every SQLAlchemy session, registered when the package is imported.

* ``before_flush`` claims the pending specs: each is registered with *this flush* as an object that is listed and not
  saved. So the unit of work has something to do even when nothing else is pending (else it would end before
  ``after_flush``, and silently lose the commonest use), and a spec stays an ordinary pending object: where a flush
  fails, or a savepoint is rolled back, it goes the way of the others, and nothing on the session brings it back.
* ``transient_to_pending`` claims those that later ``before_flush`` listeners add, and refuses what `merge` makes.
* ``after_flush`` writes the claimed ones: the other objects have their primary keys by then.
* ``after_commit`` wakes the runtimes of this process.

The cost for sessions without specs is one pass over their pending objects. Works the same in a ``Session`` and in the
sync session below an ``AsyncSession``.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from typing import Any, cast

from sqlalchemy import event, inspect
from sqlalchemy.orm import InstanceState, Session, SessionTransaction
from sqlalchemy.orm.attributes import instance_state
from sqlalchemy.orm.unitofwork import UOWTransaction

from ..errors import InvalidOption
from ..models import JobSpec
from .wakeup import forget_noted, wake_noted
from .writer import write

Watcher = Callable[[Session, list[JobSpec]], None]

watcher: ContextVar[Watcher | None] = ContextVar("oban_sqla_watcher", default=None)
"""Called with the specs that were written, when their flush is over. Tests run jobs inline with it."""

_FLUSH, _WRITTEN = "oban_sqla.flush", "oban_sqla.written"


@event.listens_for(Session, "before_flush")
def _claim_pending(session: Session, context: UOWTransaction, objects: Sequence[object] | None) -> None:
    session.info[_FLUSH] = weakref.ref(context)
    for state in [instance_state(obj) for obj in objects] if objects else list(_pending(session)):
        if state.class_ is JobSpec:
            _claim(context, state)


# Raw: with the state instead of the object, which spares every object of every session the conversion.
@event.listens_for(Session, "transient_to_pending", raw=True)
def _admit(session: Session, state: InstanceState[Any]) -> None:
    if state.class_ is not JobSpec:
        return
    if "kind" not in state.dict:  # a copy that merge made, past __init__
        session.expunge(state.obj())
        raise InvalidOption(
            "session.merge(spec): a spec is not a row, so it can't be merged; add it with session.add(spec)"
        )
    # Outside of a flush there is no context, or one that is over and takes no notice.
    if (flush := session.info.get(_FLUSH)) is not None and (context := flush()) is not None:
        _claim(context, state)


def _pending(session: Session) -> Iterable[InstanceState[Any]]:
    """The states of ``session.new``, in order, without the set of the objects that it would make each time."""
    return session._new  # pyright: ignore[reportPrivateUsage]


def _claim(context: UOWTransaction, state: InstanceState[Any]) -> None:
    cast(Any, context).register_object(state, listonly=True)  # typed only in part


@event.listens_for(Session, "after_flush")
def _write_claimed(session: Session, context: UOWTransaction) -> None:
    session.info.pop(_FLUSH, None)  # what is added from here on belongs to the next flush
    if not (claimed := context.mappers.get(inspect(JobSpec))):
        return
    taken = [state for state in _pending(session) if state in claimed]
    specs = cast(list[JobSpec], [state.obj() for state in taken])
    states = cast(dict[object, object], context.states)  # pyright: ignore[reportUnknownMemberType] (untyped)
    for state in taken:
        del states[state]
    # Neither this flush nor the session may take a spec for a row that it has saved. One call for all: `expunge` would
    # follow the relationships of each, and a spec has none.
    session._expunge_states(taken)  # pyright: ignore[reportPrivateUsage]
    context.attributes[_WRITTEN] = write(session, specs)


@event.listens_for(Session, "after_flush_postexec")
def _tell_written(session: Session, context: UOWTransaction) -> None:
    if specs := context.attributes.pop(_WRITTEN, None):
        tell(session, specs)


@event.listens_for(Session, "after_commit")
def _wake(session: Session) -> None:
    # Also fires for a savepoint's release, and for a session that is joined to an outer transaction. The first is
    # told apart here; for the second nothing was noted.
    if not session.in_nested_transaction():
        wake_noted(session)


@event.listens_for(Session, "after_transaction_end")
def _forget(session: Session, transaction: SessionTransaction) -> None:
    # However it ended: closing a session rolls back without a word to the listeners of rollbacks.
    if transaction.parent is None:
        forget_noted(session)


def tell(session: Session, specs: list[JobSpec]) -> list[JobSpec]:
    """Tell the watcher of this context, if there is one, that `specs` were written, and return them."""
    if (watching := watcher.get()) is not None:
        watching(session, specs)
    return specs
