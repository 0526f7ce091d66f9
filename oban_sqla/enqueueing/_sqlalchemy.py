"""What the unit of work uses of SQLAlchemy beyond its public names. Where one is missing, a public way is taken.

===================================  ============================================  =================================
name                                 what it is for                                public way
===================================  ============================================  =================================
``Session._new``, ``state.class_``   the pending specs, without a set of the       ``Session.new``, ``state.object``
                                     objects at each flush
``UOWTransaction.states``,           specs stay pending until they are written:    :class:`Held`
``Session._expunge_states``          listed in the flush, and not saved by it
``_with_options``,                   the options of a query, and that it is one    none: the options are lost, so a
``_propagate_attrs``                 of mapped classes, hold in `enqueue_from`     query with some is refused
``UOWTransaction.states``            what a flush does with an object              its session, and its attributes
``Connection``                       an error of the driver's own call is raised   the statement goes the way of all
``._handle_dbapi_exception``         as SQLAlchemy raises its own                  others
===================================  ============================================  =================================

No name is looked up, and nothing else is done, for a session without specs, but to see that it has none.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, cast

from sqlalchemy import Select, inspect
from sqlalchemy.orm import InstanceState, Session, make_transient_to_detached
from sqlalchemy.orm.attributes import flag_dirty
from sqlalchemy.orm.interfaces import CriteriaOption

from ..errors import InvalidOption
from ..models import Job, JobSpec
from ..models._sqlalchemy import private

if TYPE_CHECKING:
    from sqlalchemy.orm import UOWTransaction

State = InstanceState[JobSpec]
T = TypeVar("T")


def is_spec(state: InstanceState[Any]) -> bool:
    """Whether it is the state of a spec."""
    try:
        return state.class_ is JobSpec
    except AttributeError:
        return type(state.object) is JobSpec


def pending_specs(session: Session, objects: Sequence[object] | None) -> list[State]:
    """The specs that a flush is to write, in the order in which they were added.

    :param objects: of the session that are flushed; None for all.
    """
    if objects:
        return [inspect(cast(Any, one)) for one in objects if isinstance(one, JobSpec)]
    states: Iterable[InstanceState[Any]] | None = private(session, "_new")
    if states is None:
        return [inspect(cast(Any, one)) for one in session.new if isinstance(one, JobSpec)]
    return [state for state in states if is_spec(state)]


def pending_of(session: Session, cls: type[T]) -> list[T]:
    """The pending objects of `session` of this class, which has no subclasses, in their order."""
    states: Iterable[InstanceState[Any]] | None = private(session, "_new")
    if states is None:
        return [one for one in session.new if type(one) is cls]
    return [cast(T, state.object) for state in list(states) if state.class_ is cls]


def has_options(query: Any) -> bool:
    """Whether ``query.options(…)`` was called."""
    return bool(private(query, "_with_options"))


def has_criteria(query: Any) -> bool:
    """Whether ``query.options(with_loader_criteria(…))`` was called, which holds only where nothing is around it."""
    return any(isinstance(one, CriteriaOption) for one in private(query, "_with_options") or ())


_OF_FETCHING = {"yield_per", "stream_results", "max_row_buffer"}


def carry_options(query: Any, outer: Select[Any]) -> Select[Any]:
    """`outer` with the options of `query`, which is below it, and known to listeners as a query of the same classes.

    Execution options belong to them, except those that say how rows are fetched: `outer` returns few, and writes.

    :raises InvalidOption: where SQLAlchemy does not say which options those are.
    """
    options, attributes = private(query, "_with_options"), private(query, "_propagate_attrs")
    if options is None or attributes is None:
        raise InvalidOption("enqueue_from: this version of SQLAlchemy does not show the options of a query")
    execution = {name: value for name, value in query.get_execution_options().items() if name not in _OF_FETCHING}
    statement: Any = outer.options(*options).execution_options(**execution)
    statement._propagate_attrs = attributes
    return cast("Select[Any]", statement)


def fate_of(state: InstanceState[Any], context: UOWTransaction | None) -> Literal["saved", "deleted"] | None:
    """What a flush does with an object; None where it leaves it alone, or there is no flush."""
    if context is None:
        return None
    states = private(context, "states")
    if states is None:
        return "saved" if state.pending else None
    is_deleted, is_only_listed = states.get(state, (False, True))
    if is_deleted:
        return "deleted"
    return None if is_only_listed else "saved"


class Claims(Protocol):
    """The specs that one flush of a session is to write."""

    def claim(self, session: Session, state: State) -> None:
        """Let the flush write this pending spec, and nothing else do it."""
        ...

    def take(self, session: Session) -> list[JobSpec]:
        """The claimed specs that are still to be written. They belong to no session any more."""
        ...

    def finish(self, session: Session) -> None:
        """Clean up when the flush is over."""
        ...


def claims_of(session: Session, context: UOWTransaction) -> Claims:
    """Claims for the flush `context`."""
    names = [(session, "_new"), (session, "_expunge_states"), (context, "states")]
    return Held() if any(private(owner, name) is None for owner, name in names) else Listed(context)


class Listed:
    """Specs are listed in the flush as objects that are not saved. They stay pending, like any other object: where the
    flush fails, or a savepoint is rolled back, they go the way of the others."""

    def __init__(self, context: UOWTransaction) -> None:
        self._context: Any = weakref.ref(context)
        self._claimed: dict[State, None] = {}

    def claim(self, session: Session, state: State) -> None:
        if (context := self._context()) is not None:
            # (is deleted, is only listed). Not by `register_object`: it would plan the mapper's work, which has none.
            context.states[state] = (False, True)
            self._claimed[state] = None

    def take(self, session: Session) -> list[JobSpec]:
        internals: Any = session
        taken = [state for state in self._claimed if state in internals._new]
        specs = [internals._new[state] for state in taken]
        # Neither the flush nor the session may take a spec for a row that it has saved. One call for all: `expunge`
        # would follow the relationships of each, and a spec has none.
        for state in taken:
            del self._context().states[state]
        internals._expunge_states(taken)
        return specs

    def finish(self, session: Session) -> None:
        pass


class Held:
    """Specs leave the session before it is flushed. So that the flush has something to do even when nothing else is
    pending, it is given a row that has not changed, for which it sends nothing.

    Two differences remain. Specs of a flush that a listener refuses are not pending any more; and a flush of chosen
    objects writes specs only beside others. The next flush of the transaction writes them.
    """

    def claim(self, session: Session, state: State) -> None:
        spec = cast(JobSpec, state.object)
        session.expunge(spec)
        if _HELD not in session.info:
            row = Job(id=0)
            make_transient_to_detached(row)
            session.add(row)
            flag_dirty(row)
            session.info[_HELD] = (row, [])
        session.info[_HELD][1].append(spec)

    def take(self, session: Session) -> list[JobSpec]:
        held: list[JobSpec] = session.info[_HELD][1]
        specs = held.copy()
        held.clear()
        return specs

    def finish(self, session: Session) -> None:
        drop_held(session)


_HELD = "oban_sqla.held"


def has_held(session: Session) -> bool:
    """Whether :class:`Held` keeps specs of a flush that was refused."""
    return _HELD in session.info


def drop_held(session: Session) -> None:
    """Forget what :class:`Held` keeps: its flush is over, or its transaction."""
    row, _ = session.info.pop(_HELD, (None, []))
    if row is not None and row in session:
        session.expunge(row)
