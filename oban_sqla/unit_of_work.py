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

import json
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from itertools import islice
from typing import Any, cast

from sqlalchemy import Connection, Engine, event, inspect
from sqlalchemy.orm import InstanceState, Session, SessionTransaction
from sqlalchemy.orm.attributes import instance_state
from sqlalchemy.orm.unitofwork import UOWTransaction

from . import telemetry
from .errors import InvalidOption, ObanError, UnsupportedDatabase
from .models import Job, JobSpec
from .statements.insert import CHUNK, insert_keyed, insert_one, insert_plain, notify, winners
from .statements.statement import Statement
from .types import JobState, naive_utc
from .wakeup import INSERTED, STAGED, Runtime, channel, runtime_for, schema_of

SOON = 5.0
"""Seconds: a job due within this time is announced to the stager, which may be asleep until later."""

Watcher = Callable[[Session, list[JobSpec]], None]

watcher: ContextVar[Watcher | None] = ContextVar("oban_sqla_watcher", default=None)
"""Told of the specs that were written, when their flush is over; how tests run jobs inline."""

_FLUSH, _TO_WAKE = "oban_sqla.flush", "oban_sqla.to_wake"
_WRITTEN = "oban_sqla.written"
_MOST_ROUNDS = 10


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
    if "worker" not in state.dict:  # a copy that merge made, past __init__
        session.expunge(state.obj())
        raise InvalidOption("session.merge(spec): a spec is no row that could be merged; add it with session.add(spec)")
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
    if _TO_WAKE in session.info and not session.in_nested_transaction():
        noted: dict[Runtime, tuple[set[str], set[str]]] = session.info.pop(_TO_WAKE)
        for runtime, (queues, soon) in noted.items():
            if queues:
                runtime.inserted(queues)
            if soon:
                runtime.soon()


@event.listens_for(Session, "after_transaction_end")
def _forget(session: Session, transaction: SessionTransaction) -> None:
    # However it ended: closing a session rolls back without a word to the listeners of rollbacks.
    if transaction.parent is None:
        session.info.pop(_TO_WAKE, None)


def tell(session: Session, specs: list[JobSpec]) -> list[JobSpec]:
    """Tell the watcher of this context, if there is one, that `specs` were written, and return them."""
    if (watching := watcher.get()) is not None:
        watching(session, specs)
    return specs


def write(session: Session, specs: Iterable[JobSpec]) -> list[JobSpec]:
    """Insert `specs` in the session's transaction, and see to the wake-up.

    :param specs: a list is written with its keys in sorted order, so that two flushes with the same keys can't
        deadlock; any other iterable is consumed and sorted chunk by chunk.
    :returns: the specs, each with id, state and conflict.
    """
    written: list[JobSpec] = []
    queues: set[str] = set()
    soon: set[str] = set()
    connection: Connection | None = None
    for batch in [specs] if isinstance(specs, list) else _chunks(iter(specs)):
        keys = _resolve(batch)
        if connection is None:
            connection = jobs_connection(session)
        plain = [spec for spec in batch if id(spec) not in keys]
        keyed = sorted((spec for spec in batch if id(spec) in keys), key=lambda spec: keys[id(spec)]) if keys else []
        with telemetry.span("oban.engine.insert_jobs", specs=batch):
            for chunk in _chunks(iter(plain + keyed)):
                _insert(connection, chunk, keys)
        note_wake_ups(batch, queues, soon)
        written += batch
    if connection is not None and (queues or soon):
        announce(session, connection, queues, soon)
    return written


def note_wake_ups(specs: Iterable[JobSpec], queues: set[str], soon: set[str]) -> None:
    """Add to `queues` those that have new available jobs, and to `soon` those with jobs that are due in a moment."""
    for spec in specs:
        if not spec.conflict:
            if spec.state == JobState.AVAILABLE:
                queues.add(spec.queue)
            elif _is_soon(spec):
                soon.add(spec.queue)


def _chunks(specs: Iterator[JobSpec]) -> Iterator[list[JobSpec]]:
    while chunk := list(islice(specs, CHUNK)):
        yield chunk


def jobs_connection(session: Session) -> Connection:
    """The connection on which `session` finds the jobs, in its transaction.

    :raises UnsupportedDatabase: when that is not PostgreSQL.
    """
    connection = session.connection(bind_arguments={"mapper": inspect(Job)})
    if connection.dialect.name != "postgresql":
        raise UnsupportedDatabase(
            f"jobs need PostgreSQL, this session speaks to {connection.dialect.name}; "
            "bind Job to a PostgreSQL engine: Session(binds={Job: engine, …})"
        )
    return connection


def _resolve(specs: Sequence[JobSpec]) -> dict[int, bytes]:
    """Fill in what is `later`, and compute the keys of the unique ones, by the identity of the spec."""
    if any(spec.waits for spec in specs):
        for spec in specs:
            spec.without_id(True)
        try:
            for spec in specs:
                spec.fill()
        finally:
            for spec in specs:
                spec.without_id(False)
    now = time.time()
    keys: dict[int, bytes] = {}
    for spec in specs:
        if spec.unique is not None:
            due = now + (spec.schedule_in or 0.0) if spec.scheduled_at is None else spec.scheduled_at.timestamp()
            # In a state that doesn't count the job neither has a duplicate nor is one.
            if spec.unique.counts("scheduled" if due > now else "available"):
                keys[id(spec)] = spec.unique.key(spec.worker, spec.queue, spec.args, spec.meta, due)
    return keys


def _insert(connection: Connection, specs: Sequence[JobSpec], keys: Mapping[int, bytes], round: int = 1) -> None:
    if id(specs[-1]) not in keys:
        statement, parameters = insertion(specs)
        take_written(specs, statement.execute(connection, **parameters).one())
        return
    parameters = _insert_parameters(specs)
    parameters["uniq_key"] = [keys.get(id(spec)) for spec in specs]
    rows = iter(insert_keyed.execute(connection, **parameters).all())
    row = next(rows, None)
    lost: list[JobSpec] = []
    for spec in specs:
        if row is not None and row.uniq_key == keys.get(id(spec)):
            spec.written(row.id, JobState.SCHEDULED if row.waits else JobState.AVAILABLE, conflict=False)
            row = next(rows, None)
        else:
            lost.append(spec)
    if lost:
        _find_winners(connection, lost, keys, round)


def insertion(specs: Sequence[JobSpec]) -> tuple[Statement, dict[str, Any]]:
    """The statement that inserts `specs`, which have no keys, and its parameters. Its answer is one row."""
    if len(specs) > 1:
        parameters = _insert_parameters(specs)
        del parameters["uniq_mask"]
        return insert_plain, parameters
    [spec] = specs
    return insert_one, {
        "worker": spec.worker,
        "queue": spec.queue,
        "args": spec.args_json,
        "meta": spec.meta_json,
        "tags": _array(spec.tags),
        "priority": spec.priority,
        "max_attempts": spec.max_attempts,
        "at": None if spec.scheduled_at is None else naive_utc(spec.scheduled_at),
        "delay": spec.schedule_in,
    }


def take_written(specs: Sequence[JobSpec], row: Sequence[Any]) -> None:
    """Give `specs` what their :func:`insertion` returned: the ids, and which of them wait for their time."""
    written = zip(specs, *row, strict=True) if len(specs) > 1 else [(specs[0], *row)]
    for spec, job_id, waits in written:
        spec.written(job_id, JobState.SCHEDULED if waits else JobState.AVAILABLE, conflict=False)


def _insert_parameters(specs: Sequence[JobSpec]) -> dict[str, Any]:
    """The arrays of the insert statements: each job's args, and the rest once for each kind of job."""
    kinds: dict[tuple[Any, ...], int] = {}
    kind = [
        kinds.setdefault(
            (
                spec.worker,
                spec.queue,
                spec.meta_json,
                spec.tags,
                spec.priority,
                spec.max_attempts,
                spec.scheduled_at,
                spec.schedule_in,
                0 if spec.unique is None else spec.unique.mask,
            ),
            len(kinds) + 1,
        )
        for spec in specs
    ]
    workers, queues, metas, tags, priorities, max_attempts, times, delays, masks = zip(*kinds, strict=True)
    return {
        "kind": kind,
        "args": [spec.args_json for spec in specs],
        "worker": workers,
        "queue": queues,
        "meta": metas,
        "tags": [_array(names) for names in tags],
        "priority": priorities,
        "max_attempts": max_attempts,
        "at": [None if at is None else naive_utc(at) for at in times],
        "delay": delays,
        "uniq_mask": masks,
    }


def _find_winners(connection: Connection, lost: Sequence[JobSpec], keys: Mapping[int, bytes], round: int) -> None:
    """Give the specs that met another job that job's id; those whose opponent is gone by now try again."""
    found = winners.execute(connection, keys=sorted({keys[id(spec)] for spec in lost}))
    there = {row.uniq_key: row for row in found}
    again: list[JobSpec] = []
    for spec in lost:
        if (row := there.get(keys[id(spec)])) is not None:
            spec.written(row.id, row.state, conflict=True)
        else:
            again.append(spec)
    if not again:
        return
    if round >= _MOST_ROUNDS:
        raise ObanError(
            f"{len(again)} unique jobs (the first: {again[0]!r}) met another job {round} times, which then was gone; "
            "is something inserting and finishing them in a loop?"
        )
    _insert(connection, again, keys, round + 1)


def _array(tags: Sequence[str]) -> str:
    quoted = ('"' + tag.replace("\\", "\\\\").replace('"', '\\"') + '"' for tag in tags)
    return "{" + ",".join(quoted) + "}"


def _is_soon(spec: JobSpec) -> bool:
    if spec.scheduled_at is not None:
        return spec.scheduled_at.timestamp() - time.time() <= SOON
    return (spec.schedule_in or 0.0) <= SOON


def announce(session: Session, connection: Connection, queues: set[str], soon: set[str]) -> None:
    """See to it that the commit of `session` wakes `queues`, and the stager for the jobs of `soon`."""
    runtime = runtime_for(connection)
    mode = "transaction" if runtime is None else runtime.notify
    if mode == "off":
        return
    # A session on a Connection may be joined to a transaction that outlives its commit, or is rolled back after it.
    owns_transaction = isinstance(session.get_bind(inspect(Job)), Engine)
    if runtime is not None and mode == "auto" and owns_transaction:
        noted: dict[Runtime, tuple[set[str], set[str]]] = session.info.setdefault(_TO_WAKE, {})
        before = noted.setdefault(runtime, (set(), set()))
        before[0].update(queues)
        before[1].update(soon)
        return
    schema = schema_of(connection)
    messages = [(INSERTED, queue) for queue in sorted(queues)] + [(STAGED, queue) for queue in sorted(soon)]
    notify.execute(
        connection,
        channels=[channel(name, schema) for name, _ in messages],
        payloads=[json.dumps({"queue": queue}) for _, queue in messages],
    )
