"""The keys of instances that are arguments: taken at the flush, when it is certain which row is meant.

Before it a new object has no key, and a natural key may still change. A key that is taken earlier may be that of a row
that is rolled back, or deleted, beside the job.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from ..errors import InvalidArgs
from ..options.instance import Identity, KeyedInstance, state_of
from ._sqlalchemy import fate_of

if TYPE_CHECKING:
    from sqlalchemy.orm import UOWTransaction


def refer_in(session: Session, flush: UOWTransaction | None, instance: Any, path: str) -> KeyedInstance:
    """The reference to an instance that a job of `session` gets.

    :param session: writes the job.
    :param flush: the flush that writes it; None after the flush, and outside of one.
    :param path: of the argument, for messages.
    :raises InvalidArgs: for an instance that has no row, or will have none.
    """
    state = state_of(instance)
    name = type(instance).__name__
    fate = fate_of(state, flush)
    if state.deleted or state.was_deleted or fate == "deleted":
        raise InvalidArgs(f"{path}: this {name} is deleted, and the job could not load it; pass what it needs of it")
    key: Identity | None = state.identity
    if fate == "saved" and state.session is session:
        # Of an object that is new, or whose key has changed, this flush knows more than its identity says.
        key = tuple(state.mapper.primary_key_from_instance(instance))
    if key is None:
        raise InvalidArgs(
            f"{path}: this {name} has no row: it was added to no session or to another one, or it was rolled back; "
            "add it to the session that writes the job"
        )
    if state.identity_token is not None:
        raise InvalidArgs(
            f"{path}: this {name} is of a shard, {state.identity_token!r}, which its key does not tell; "
            "pass what finds it"
        )
    return KeyedInstance(instance, key)
