"""How batches become rows: the mapper writes the batch, and the flush its jobs, in the same statement as all others.

Registered when the package is imported. A session without batches pays nothing but a look into its ``info``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Connection, bindparam, event, inspect, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import InstanceState, Mapper, Session, object_session

from .. import telemetry
from ..errors import InvalidOption
from ..models import Batch, JobSpec
from ..models.batch import batches, place, specs_of
from ..models.place import Place
from ..statements.sent import KIND
from ..workers.compared import refuse_changes
from .composed import group_of
from .instances import refer_in
from .keys import fill, keys_of
from .parameters import sent_args
from .writer import jobs_connection, transaction_time

if TYPE_CHECKING:
    from sqlalchemy.orm import UOWTransaction

_FLUSHED = "oban_sqla.batches"


def is_batch(state: InstanceState[Any]) -> bool:
    """Whether it is the state of a batch."""
    return issubclass(state.class_, Batch)


def flushed_specs(session: Session, claimed: Iterable[JobSpec], flush: UOWTransaction) -> list[JobSpec]:
    """The jobs of the batches that this flush has written, which are still to be written, with the batch's id.

    :param claimed: the specs that were added by themselves.
    :param flush: the flush that is under way.
    :raises InvalidOption: for a job that was added both ways.
    """
    if not (flushed := take_flushed(session)):
        return []
    specs: list[JobSpec] = []
    alone = set(claimed)
    for batch in flushed:
        own, callbacks = batch.unwritten
        for spec in own:
            if spec.was_added or spec in alone:
                raise InvalidOption(f"{spec!r} is part of {batch!r} and was added by itself, too; add the batch alone")
            # Another one, also for the copy of a batch: its specs have none.
            spec.place = Place(batch_id=inspect(batch).dict["_id"])
        specs += own
        if callbacks:
            fill(list(callbacks.values()), partial(refer_in, session, flush))
            _write_callbacks(jobs_connection(session), batch, callbacks)
    return specs


def take_flushed(session: Session) -> list[Batch]:
    """The batches of this flush; before a flush, those that one which has failed has left."""
    flushed: list[Batch] = session.info.pop(_FLUSHED, [])
    return flushed


def belonging(session: Session, batch: Batch, specs: Iterable[JobSpec]) -> list[JobSpec]:
    """`specs` as further jobs of `batch`, whose row is locked until the transaction ends.

    :raises InvalidOption: for anything else, and when it is not written, or has finished.
    """
    given: object = batch
    if not isinstance(given, Batch):
        raise InvalidOption(f"enqueue: batch must be a Batch that is written, got {given!r}")
    if batch.id is None:
        raise InvalidOption(f"enqueue: {batch!r} is not written yet; add the jobs with batch.add(spec)")
    # Share, which a releaser has to wait for: it may be about to find that the last job has ended.
    found = select(batches.c.id, batches.c.finished_at).where(batches.c.id == batch.id).with_for_update(read=True)
    row = jobs_connection(session).execute(found).one_or_none()
    if row is None:
        raise InvalidOption(f"enqueue: {batch!r} is gone: it was pruned, deleted or rolled back")
    if row.finished_at is not None:
        at = f"{row.finished_at:%Y-%m-%d %H:%M:%S}Z"
        raise InvalidOption(f"enqueue: {batch!r} has finished, at {at}; make another one")
    found_specs = place(specs_of(specs, "enqueue"), "enqueue")
    for spec in found_specs:
        if spec.place is not None:
            spec.place.batch_id = batch.id
    return found_specs


_callbacks = (
    update(batches)
    .where(batches.c.id == bindparam("batch", type_=BigInteger))
    .values(callbacks=bindparam("callback_specs", type_=JSONB))
)


def _write_callbacks(connection: Connection, batch: Batch, callbacks: Mapping[str, JobSpec]) -> None:
    for spec in callbacks.values():
        refuse_changes(spec.worker, spec.unique)
    specs = list(callbacks.values())
    keys = keys_of(specs, partial(transaction_time, connection))
    with telemetry.span("oban.batch.insert", specs=specs):
        made = {kind: _as_json(spec, keys.get(id(spec))) for kind, spec in callbacks.items()}
        connection.execute(_callbacks, {"batch": inspect(batch).dict["_id"], "callback_specs": made})


def _as_json(spec: JobSpec, key: bytes | None) -> dict[str, Any]:
    """A callback as the database keeps it until its time comes: the parameters of an insertion by name."""
    values: dict[str, Any] = {one.name: value for one, value in zip(KIND, spec.kind, strict=True)}
    unique = values.pop("uniq_mask")
    at = next(one.prepare(values["at"]) for one in KIND if one.name == "at" and one.prepare is not None)
    return {
        **values,
        "at": None if at is None else at.isoformat(),
        "args": json.loads(sent_args(spec)),
        "meta": json.loads(values["meta"]),
        "tags": list(values["tags"]),
        "uniq_key": None if key is None else key.hex(),
        "uniq_mask": 0 if unique is None else unique.mask,
        **(group_of(spec.kind) or {}),
    }


# The mapper's own events, of batches alone: no other object of any session is asked.
@event.listens_for(Batch, "before_insert")
def _refuse_merged(_mapper: Mapper[Any], _connection: Connection, batch: Batch) -> None:
    _ = batch.unwritten


@event.listens_for(Batch, "after_insert")
def _note_written(_mapper: Mapper[Any], _connection: Connection, batch: Batch) -> None:
    if (session := object_session(batch)) is not None:
        session.info.setdefault(_FLUSHED, []).append(batch)


@event.listens_for(Batch, "before_delete")
def _refuse_delete(_mapper: Mapper[Any], _connection: Connection, batch: Batch) -> None:
    raise InvalidOption(
        f"session.delete({batch!r}): its row would go and its jobs would stay; use await oban.delete(batch)"
    )


@event.listens_for(Session, "persistent_to_transient", raw=True)
@event.listens_for(Session, "pending_to_transient", raw=True)  # the flush has failed after its row was written
def _forget_id(_session: Session, state: InstanceState[Any]) -> None:
    """Its transaction was rolled back: it can be added again, and gets another id then."""
    if is_batch(state):
        state.dict.pop("_id", None)
        for spec in state.dict.get("_specs", ()):
            spec.forget()


def unwritten_is_lost(state: InstanceState[Any]) -> bool:
    """Whether it is a batch that `merge` has made of one that was not written: without its jobs."""
    return is_batch(state) and "_specs" not in state.dict and state.key is None
