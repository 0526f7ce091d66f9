"""What the models use of SQLAlchemy beyond its public names. Where a name is missing, its public way is taken.

==========================  ============================================  ==========================================
name                        what it saves                                 public way
==========================  ============================================  ==========================================
``_sa_instance_state``      the state of each spec that no session meets  the mapper's own ``__init__`` makes it
``MetaData._add_table``     nothing                                       the table stays listed by its former name
``_sa_instance_state``      nothing: a session that is given a worker     the session says that it is not mapped
                            instead of a job says what to add
``_has_dataclass_…``        a relationship to jobs is left out of the    the user says ``init=False`` in a
                            parameters of a dataclass                     dataclass
``QueuePool._max_overflow`` nothing: a pool that is smaller than the      nothing is told
                            limits of the queues is told of at the start
``Dialect._on_connect_…``   an engine that commits each statement is     its first session refuses to begin
                            refused at the start
==========================  ============================================  ==========================================
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Never

from sqlalchemy import MetaData, Table, inspect
from sqlalchemy.orm import InstanceState, Session, class_mapper, object_session, registry

_STATE = "_sa_instance_state"

_late: set[type] = set()
"""Classes whose objects get their state when a session asks for it. Filled by :func:`map_lightly`."""
_HAS_ARGUMENTS = "_has_dataclass_arguments"


class _MadeLate:
    """The state that a session needs of an object, made when it first asks. Once made it is in the object's own dict,
    where it is found before this."""

    def __init__(self, cls: type[Any]) -> None:
        self._class = cls

    @cached_property
    def _manager(self) -> Any:
        return class_mapper(self._class).class_manager  # configures the mappers, once

    def __get__(self, instance: object | None, owner: type[Any]) -> InstanceState[Any]:
        if instance is None:
            raise AttributeError(f"the class {owner.__name__} has no state, its objects have")
        return self.made(instance, self._manager)

    def made(self, instance: object, manager: Any) -> InstanceState[Any]:
        state = vars(instance)[_STATE] = InstanceState(instance, manager)
        return state


def map_lightly(registry: registry, cls: type[Any], table: Table, **options: Any) -> bool:
    """Map a class whose objects cost what those of an unmapped class cost, until a session meets them.

    :param options: of the mapper.
    :returns: whether they do. Else its ``__init__`` makes the state of each, as that of any mapped class does.
    """
    init = cls.__init__
    registry.map_imperatively(cls, table, **options)
    late = _MadeLate(cls)
    if not _can_be_made_late(late, cls):
        return False
    cls.__init__ = init
    setattr(cls, _STATE, late)
    _late.add(cls)
    return True


def _can_be_made_late(late: _MadeLate, cls: type[Any]) -> bool:
    """Whether SQLAlchemy takes a state of ours for the one that it would have made. Configures no mapper."""
    probe: Any = object.__new__(cls)
    try:
        state = late.made(probe, class_mapper(cls, configure=False).class_manager)
        return inspect(probe, raiseerr=False) is state and state.object is probe and state.transient
    except Exception:  # whatever a constructor of another version thinks of the arguments
        return False


class NotARow:
    """An object that could be taken for one that a session writes. Subclasses say what to add instead of it."""

    @property
    def _sa_instance_state(self) -> Never:
        """What a session asks every object for."""
        raise self._instead()

    def _instead(self) -> Exception:
        raise NotImplementedError

    def __dir__(self) -> list[str]:
        # Without the attribute above, which raises: tools read all that is named here.
        return [name for name in super().__dir__() if name != _STATE]


def session_of(instance: object) -> Session | None:
    """The session in which `instance` is, without making the state of one that never met any."""
    return None if type(instance) in _late and _STATE not in vars(instance) else object_session(instance)


def attributes_of(instance: object) -> dict[str, Any]:
    """The attributes of `instance` without its state."""
    state = None if _STATE in vars(instance) or type(instance) in _late else inspect(instance)
    return {name: value for name, value in vars(instance).items() if name != _STATE and value is not state}


def list_anew(metadata: MetaData, tables: Sequence[Table]) -> None:
    """List the tables, whose schema was changed, under their new names."""
    if (add := private(metadata, "_add_table")) is not None:
        metadata.clear()
        for table in tables:
            add(table.name, table.schema, table)


def allow_in_any_class(relationship: Any) -> bool:
    """Let a relationship with the arguments of a dataclass be one of a class that is none.

    :returns: whether that can be.
    """
    if private(relationship, _HAS_ARGUMENTS) is None:
        return False
    setattr(relationship, _HAS_ARGUMENTS, False)
    return True


def private(owner: object, name: str) -> Any | None:
    """A name that is not public; None where this SQLAlchemy does not have it."""
    return getattr(owner, name, None)
