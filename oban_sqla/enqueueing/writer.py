"""Writing specs: keys, statements, ids and conflicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from .. import telemetry
from ..errors import UnsupportedDatabase
from ..models import JobSpec
from ..options.encryption import Encryption, in_use, using
from ..statements.insert import clock
from ..workers.compared import refuse_changes
from ..workers.registry import workers
from .binds import FOR_WRITING
from .composed import are_composed, are_news, take_turns, tell_of_duplicates
from .driver import answer_of
from .instances import refer_in
from .keyed import insert_with_keys
from .keys import fill, keys_of
from .parameters import chunks, insertion, statements_for, take_written
from .replacing import Moved, replaces, write_replacing
from .wakeup import announce, announce_news, note_wake_ups, runtime_for

if TYPE_CHECKING:
    from sqlalchemy.orm import UOWTransaction


def write(session: Session, specs: Iterable[JobSpec], flush: UOWTransaction | None = None) -> list[JobSpec]:
    """Insert `specs` in the session's transaction, and see to the wake-up.

    :param specs: a list is written with its keys in sorted order, so that two flushes with the same keys can't
        deadlock; any other iterable is consumed and sorted chunk by chunk.
    :param flush: the flush that is under way; None outside of one.
    :returns: the specs, each with id, state and conflict.
    """
    written: list[JobSpec] = []
    queues: set[str] = set()
    soon: set[str] = set()
    told: tuple[set[str], set[str]] = (set(), set())
    connection: Connection | None = None
    refer = partial(refer_in, session, flush)
    for batch in [specs] if isinstance(specs, list) else chunks(iter(specs)):
        fill(batch, refer)
        if connection is None:
            connection = jobs_connection(session)
        keys = keys_of(batch, partial(transaction_time, connection))
        with telemetry.span("oban.engine.insert_jobs", specs=batch), using(encryption_for(connection)):
            if keys and replaces(batch):
                composed: list[JobSpec] = []
                others: list[JobSpec] = []
                for spec in batch:
                    (composed if are_composed([spec]) else others).append(spec)
                for spec in composed:
                    refuse_changes(spec.worker, spec.unique)
                _write(connection, composed, {id(spec): keys[id(spec)] for spec in composed if id(spec) in keys})
                write_replacing(connection, others, keys, Moved(queues, soon))
            else:
                _write(connection, batch, keys)
        note_wake_ups(batch, queues, soon)
        # With each chunk: where the iterable fails later on, a program may commit what is written.
        if queues - told[0] or soon - told[1]:
            announce(session, connection, queues - told[0], soon - told[1])
            told = (queues.copy(), soon.copy())
        if are_news(batch) or tell_of_duplicates(connection, batch):
            announce_news(session, connection)
        written += batch
    return written


def _write(connection: Connection, batch: list[JobSpec], keys: Mapping[int, bytes]) -> None:
    in_turn = take_turns(batch, keys)
    for chunk in statements_for(_in_order(batch, keys) if keys and not in_turn else batch):
        if in_turn or id(chunk[-1]) in keys:
            insert_with_keys(connection, chunk, keys, in_turn)
        else:
            _insert(connection, chunk)


def encryption_for(connection: Connection) -> Encryption | None:
    """The keys of the runtime that serves the database; None where they are those that count here anyway."""
    if not workers.encrypted or in_use() is not None or (runtime := runtime_for(connection)) is None:
        return None
    return runtime.encryption


def _in_order(specs: list[JobSpec], keys: Mapping[int, bytes]) -> list[JobSpec]:
    """`specs` in order: those without a key, then the others by their keys."""
    plain: list[JobSpec] = []
    if len(keys) < len(specs):
        plain = [spec for spec in specs if id(spec) not in keys]
        specs = [spec for spec in specs if id(spec) in keys]
    return plain + sorted(specs, key=lambda spec: keys[id(spec)])


def transaction_time(connection: Connection) -> datetime:
    """The time of the transaction, by the database's clock."""
    now: datetime = clock.execute(connection).scalar_one()
    return now


def jobs_connection(session: Session) -> Connection:
    """The connection on which `session` finds the jobs, in its transaction.

    :raises UnsupportedDatabase: when that is not PostgreSQL.
    """
    connection = session.connection(bind_arguments=FOR_WRITING)
    if connection.dialect.name != "postgresql":
        raise UnsupportedDatabase(
            f"jobs need PostgreSQL, this session speaks to {connection.dialect.name}; "
            "bind Job to a PostgreSQL engine: Session(binds={Job: engine, …})"
        )
    return connection


def _insert(connection: Connection, specs: Sequence[JobSpec]) -> None:
    statement, parameters = insertion(specs)
    take_written(specs, answer_of(connection, statement, parameters))
