"""Writing specs: keys, statements, ids and conflicts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, inspect, update
from sqlalchemy.orm import Session

from .. import telemetry
from ..errors import ObanError, UnsupportedDatabase
from ..models import Job, JobSpec
from ..models.job import jobs
from ..models.kind import FIELDS, Kind
from ..options.unique import Unique
from ..statements.insert import CHUNK, clock, insert_keyed, insert_one, insert_plain, winners
from ..statements.sent import KIND
from ..statements.statement import Statement
from ..types import JobState
from .instances import refer_in
from .keys import fill, keys_of
from .wakeup import announce, note_wake_ups

if TYPE_CHECKING:
    from sqlalchemy.orm import UOWTransaction

LARGEST_BYTES = 8_388_608
"""Of args and meta in one statement. A server takes 1 GiB at most, and a slow line far less in the time it has."""

_MOST_ROUNDS = 10
_NONE: Mapping[bytes, Row[Any]] = MappingProxyType({})
_UNIQUE = FIELDS.index("unique")
_KIND = [(one.name, at, one.prepare) for at, one in enumerate(KIND)]
_WITHOUT_KEY = [one for one in _KIND if one[1] != _UNIQUE]


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
    connection: Connection | None = None
    refer = partial(refer_in, session, flush)
    for batch in [specs] if isinstance(specs, list) else _chunks(iter(specs)):
        fill(batch, refer)
        if connection is None:
            connection = jobs_connection(session)
        keys = keys_of(batch, partial(_now, connection))
        with telemetry.span("oban.engine.insert_jobs", specs=batch):
            for chunk in _statements(_in_order(batch, keys) if keys else batch):
                if id(chunk[-1]) in keys:
                    _insert_keyed(connection, chunk, keys)
                else:
                    _insert(connection, chunk)
        note_wake_ups(batch, queues, soon)
        written += batch
    if connection is not None and (queues or soon):
        announce(session, connection, queues, soon)
    return written


def _in_order(specs: Iterable[JobSpec], keys: Mapping[int, bytes]) -> list[JobSpec]:
    """Those without a key, and then those with one, by their keys."""
    plain = [spec for spec in specs if id(spec) not in keys]
    return plain + sorted((spec for spec in specs if id(spec) in keys), key=lambda spec: keys[id(spec)])


def _chunks(specs: Iterator[JobSpec]) -> Iterator[list[JobSpec]]:
    while chunk := list(islice(specs, CHUNK)):
        yield chunk


def _statements(specs: list[JobSpec]) -> Iterator[list[JobSpec]]:
    """`specs` in parts that one statement takes, by their number and their size."""
    for chunk in _chunks(iter(specs)):
        if size_of(chunk) <= LARGEST_BYTES:
            yield chunk
            continue
        part: list[JobSpec] = []
        size = 0
        for spec in chunk:
            of_one = size_of([spec])
            if part and size + of_one > LARGEST_BYTES:
                yield part
                part, size = [], 0
            part.append(spec)
            size += of_one
        yield part


def size_of(specs: Sequence[JobSpec]) -> int:
    """The length of the args and meta of `specs`."""
    size = 0
    last: Kind = ()
    for spec in specs:
        size += len(spec.args_json)
        if spec.kind is not last:  # thousands in a row share one
            size += len(spec.meta_json)
            last = spec.kind
    return size


def _now(connection: Connection) -> datetime:
    now: datetime = clock.execute(connection).scalar_one()
    return now


# Sessions that route reads to replicas decide by the statement; asked without one they may take this for a read.
FOR_WRITING: dict[str, Any] = {"mapper": inspect(Job), "clause": update(jobs)}
"""With which a session is asked for the connection on which it writes jobs."""


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
    take_written(specs, statement.execute(connection, **parameters).one())


def _insert_keyed(connection: Connection, specs: Sequence[JobSpec], keys: Mapping[int, bytes]) -> None:
    """Insert jobs of which the last ones are unique, in the order of their keys.

    One that conflicts with a job that is gone when it is looked for is inserted again. By then this transaction holds
    the keys after its own, and to wait for one out of order is how two transactions deadlock: so all are given up
    first, and taken anew in order, in halves, because of fewer jobs fewer are gone.
    """
    keyed = sum(id(spec) in keys for spec in specs)
    if keyed == 1 or _is_autocommit(connection):
        _insert_in_place(connection, specs, keys)
        return
    with connection.begin_nested() as savepoint:
        if gone := _insert_once(connection, specs, keys):
            savepoint.rollback()
    if gone:
        middle = len(specs) - keyed // 2
        _insert_keyed(connection, specs[:middle], keys)
        _insert_keyed(connection, specs[middle:], keys)


def _insert_in_place(connection: Connection, specs: Sequence[JobSpec], keys: Mapping[int, bytes]) -> None:
    """Insert jobs whose keys have no order, again and again those whose conflicting job is gone.

    From the second round on a job that was there before the round is an answer, too: else jobs that are short and many
    could keep this from ending.
    """
    before = _NONE
    for _ in range(_MOST_ROUNDS):
        if not (specs := _insert_once(connection, specs, keys, before)):
            return
        before = _holders(connection, specs, keys)
    raise ObanError(
        f"{len(specs)} unique jobs (the first: {specs[0]!r}) conflicted {_MOST_ROUNDS} times with jobs that were gone "
        "then; does a program insert and finish them in a loop?"
    )


def _is_autocommit(connection: Connection) -> bool:
    """Whether each statement is a transaction, which holds no key while the next one waits."""
    return bool(getattr(connection.connection.dbapi_connection, "autocommit", False))


def _holders(connection: Connection, specs: Iterable[JobSpec], keys: Mapping[int, bytes]) -> dict[bytes, Row[Any]]:
    """The jobs that have the keys of `specs` now, by key."""
    sought = sorted({key for spec in specs if (key := keys.get(id(spec))) is not None})
    return {row.uniq_key: row for row in winners.execute(connection, keys=sought)}


def _insert_once(
    connection: Connection,
    specs: Sequence[JobSpec],
    keys: Mapping[int, bytes],
    before: Mapping[bytes, Row[Any]] = _NONE,
) -> list[JobSpec]:
    """Insert what conflicts with no job.

    :param before: the jobs that had the keys a moment ago, by key. Default: none is known.
    :returns: the specs whose conflicting job is gone.
    """
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
    if not lost:
        return lost
    there = {**before, **_holders(connection, lost, keys)}
    gone: list[JobSpec] = []
    for spec in lost:
        if (row := there.get(keys[id(spec)])) is not None:
            spec.written(row.id, row.state, conflict=True)
        else:
            gone.append(spec)
    return gone


def insertion(specs: Sequence[JobSpec]) -> tuple[Statement, dict[str, Any]]:
    """The statement that inserts `specs`, which have no keys, and its parameters. Its answer is one row."""
    if len(specs) > 1:
        parameters = _insert_parameters(specs)
        del parameters["uniq_mask"]
        return insert_plain, parameters
    [spec] = specs
    kind = spec.kind
    parameters = {name: kind[at] if prepare is None else prepare(kind[at]) for name, at, prepare in _WITHOUT_KEY}
    parameters["args"] = spec.args_json
    return insert_one, parameters


def take_written(specs: Sequence[JobSpec], row: Sequence[Any]) -> None:
    """Give `specs` what their :func:`insertion` returned: the ids, and which of them wait for their time."""
    written = zip(specs, *row, strict=True) if len(specs) > 1 else [(specs[0], *row)]
    for spec, job_id, waits in written:
        spec.written(job_id, JobState.SCHEDULED if waits else JobState.AVAILABLE, conflict=False)


def _insert_parameters(specs: Sequence[JobSpec]) -> dict[str, Any]:
    """The arrays of the insert statements: each job's args, and the rest once for each kind of job."""
    numbers: dict[Kind, int] = {}
    kind = [numbers.setdefault(_masked(spec.kind), len(numbers) + 1) for spec in specs]
    columns: list[tuple[Any, ...]] = [*zip(*numbers, strict=True)]
    parameters: dict[str, Any] = {
        name: columns[at] if prepare is None else [prepare(value) for value in columns[at]]
        for name, at, prepare in _KIND
    }
    return {"kind": kind, "args": [spec.args_json for spec in specs], **parameters}


def _masked(kind: Kind) -> Kind:
    """`kind` with the mask of its unique, which is what a row holds of it."""
    unique: Unique | None = kind[_UNIQUE]
    return kind if unique is None else (*kind[:_UNIQUE], unique.mask, *kind[_UNIQUE + 1 :])
