"""Loading the instances that a job has as arguments, and flushing those that it returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from ..enqueueing.binds import reading_where_it_writes
from ..errors import ObanError
from ..options.instance import Identity, has_instance, state_of
from ..statements.instances import select_by_keys
from ..workers.entity import Entity, Key
from ..workers.injection import is_session
from ..workers.outcomes import Cancel, Discard
from ..workers.worker import Worker
from .executors.call import Call, Raised, Result, Returned
from .sessions import Sessions


async def load_instances(call: Call, sessions: Sessions) -> Raised | None:
    """Load what the args of `call` name: in the job's session if it has one, else in one that is closed again.

    :returns: what comes of the job instead of the call when a row is gone.
    """
    keys = call.read(sessions.given)
    if not keys:
        return None
    found: dict[int, Any] = {}

    def load(session: Session) -> None:
        load_keys(session, keys, found)

    own = next((call.injected[name] for name, kind in call.asked.items() if is_session(kind)), None)
    if not isinstance(own, AsyncSession | Session):
        await sessions.apart(load, on_loop=call.worker.is_async)
    else:
        await sessions.within(own, load)
    if (gone := next((key for key in keys if id(key) not in found), None)) is not None:
        return Raised(_missing(call.worker, gone))
    call.fill_in(found)
    return None


def load_keys(session: Session, keys: Sequence[Key], found: dict[int, Any]) -> None:
    """Load the instances of `keys` into `found`, by the identities of the keys' objects. What is gone is left out."""
    with reading_where_it_writes(session):
        for entity in dict.fromkeys(key.entity for key in keys):
            _load(session, entity, [key for key in keys if key.entity is entity], found)


async def flushed(result: Result, call: Call, sessions: Sessions, session: AsyncSession | Session) -> Result:
    """`result` of a job with this session, flushed where the value is to be kept and has an instance in it: one that
    the job has made has no key before."""
    if isinstance(result, Returned) and (call.worker.recorded or call.row.keeps_result) and has_instance(result.value):
        try:
            await sessions.within(session, lambda plain: plain.flush())
        except Exception as error:
            return Raised(error)
    return result


def _load(session: Session, entity: Entity, keys: Sequence[Key], found: dict[int, Any]) -> None:
    """Load the instances of one parameter into `found`, by the identities of the keys' objects."""
    rows: dict[Identity, Any] = {}
    for query in select_by_keys(entity.mapper, list(dict.fromkeys(key.values for key in keys)), entity.options):
        for instance in session.scalars(query).unique():
            rows[tuple(state_of(instance).identity or ())] = instance
    for key in keys:
        if (instance := rows.get(key.values)) is None:
            # Equal for the database, and another value here: text that is padded, or whose case does not count.
            [query] = select_by_keys(entity.mapper, [key.values], entity.options)
            if (instance := session.scalars(query).unique().one_or_none()) is None:
                return
        found[id(key)] = instance


def _missing(worker: Worker, key: Key) -> BaseException:
    reason = f"there is no {key.entity.name} with the key {key.entity.written(key.values)!r} any more"
    match worker.missing:
        case "cancel":
            return Cancel(reason)
        case "discard":
            return Discard(reason)
        case "retry":
            return ObanError(reason)
