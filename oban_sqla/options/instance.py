"""Instances of mapped classes among a job's arguments. Only a flush knows their keys, and no other column is stored."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import inspect
from sqlalchemy.exc import NoInspectionAvailable
from sqlalchemy.orm import InstanceState, Mapper, class_mapper
from sqlalchemy.orm.exc import UnmappedClassError

_URL = re.compile(r"\s*[\w+.-]+://")

Identity = tuple[Any, ...]
"""The values of a primary key, in the order of the mapper's."""


# Without equality: that of a dataclass compares columns. Without the instance in its repr, for the same reason.
@dataclass(frozen=True, slots=True, eq=False, repr=False)
class KeyedInstance:
    """An instance together with what is stored for it.

    :param instance: the instance.
    :param key: its primary key; None where it has none yet, and nothing is stored.
    :param number: of the instance among those that a test hands to its job; then this is what travels.
    """

    instance: object
    key: Identity | None
    number: int | None = None


Refer = Callable[[Any, str], Any]
"""Takes the key of an instance; it is given the path of the argument, with which messages begin. For a worker's
arguments it gives a :class:`KeyedInstance`."""


def mapper_of(kind: object) -> Mapper[Any] | None:
    """The mapper of a class, without configuring any; None for a class that is not mapped, and anything else."""
    if not isinstance(kind, type) or not hasattr(kind, "__mapper__"):
        return None
    try:
        return class_mapper(kind, configure=False)
    except UnmappedClassError:
        return None


def is_instance(value: object) -> bool:
    """Whether it is an object of a mapped class."""
    return type(value) not in _ATOMS and mapper_of(type(value)) is not None


def told(value: object) -> str:
    """`value` for a message. Messages reach logs, so of an instance they have the class and no column, and nothing of a
    URL, which may have a password."""
    if isinstance(value, str) and _URL.match(value):
        return "a URL"
    is_ours = type(value).__module__.startswith("oban_sqla.")
    return f"an instance of {type(value).__name__}" if is_instance(value) and not is_ours else repr(value)


def state_of(instance: object) -> InstanceState[Any]:
    """What SQLAlchemy knows of an instance.

    :raises NoInspectionAvailable: for an object that was made past its class's ``__init__``.
    """
    state: Any = inspect(instance, raiseerr=False)
    if not isinstance(state, InstanceState):
        raise NoInspectionAvailable(f"{type(instance).__name__} has no state")
    return state  # pyright: ignore[reportUnknownVariableType] (its type parameter can't be known)


def has_instance(value: object) -> bool:
    """Whether an instance stands at `value`, or inside of its lists, tuples and dicts."""
    if isinstance(value, dict):
        return any(map(has_instance, cast(dict[object, object], value).values()))
    if isinstance(value, list | tuple):
        return any(map(has_instance, cast(list[object], value)))
    return is_instance(value)


def referred(value: Any, refer: Refer, path: str) -> Any:
    """`value` with what `refer` gives in the place of each instance."""
    if isinstance(value, dict):
        pairs = cast(dict[object, Any], value).items()
        return {key: referred(item, refer, f"{path}.{key}") for key, item in pairs}
    if isinstance(value, list | tuple):
        items = [referred(item, refer, f"{path}[{at}]") for at, item in enumerate(cast(list[Any], value))]
        return tuple(items) if isinstance(value, tuple) else items
    return refer(value, path) if is_instance(value) else value


class _Unknown:
    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"<the key of {self._name}, known at the flush>"


def shown(instance: object) -> Any:
    """The key of an instance as far as it is known before a flush, for readers."""
    try:
        key = state_of(instance).identity
    except NoInspectionAvailable:
        key = None
    if key is None:
        return _Unknown(type(instance).__name__)
    values = [one if type(one) in _ATOMS else str(one) for one in key]
    return values[0] if len(values) == 1 else values


_ATOMS = frozenset((str, int, bool, float, type(None)))
