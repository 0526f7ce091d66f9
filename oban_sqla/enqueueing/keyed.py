"""Inserting jobs of which some have keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, Row

from ..errors import ObanError
from ..models import JobSpec
from ..statements.insert import insert_composed_keyed, insert_in_turn, insert_keyed, winners
from .composed import are_composed
from .driver import answer_of, is_autocommit
from .parameters import left_out, parameters_of, take_written

_MOST_ROUNDS = 10
_BUCKETS = 64
"""Into which the keys of chained jobs are divided, each with a lock."""
_NONE: Mapping[bytes, Row[Any]] = MappingProxyType({})


def insert_with_keys(
    connection: Connection, specs: Sequence[JobSpec], keys: Mapping[int, bytes], in_turn: bool = False
) -> None:
    """Insert jobs of which the last ones are unique, in the order of their keys.

    One that conflicts with a job that is gone when it is looked for is inserted again. By then this transaction holds
    the keys after its own, and to wait for one out of order is how two transactions deadlock: so all are given up
    first, and taken anew in order, in halves, because of fewer jobs fewer are gone.

    :param keys: of all jobs of the flush.
    :param in_turn: insert them in the order given, whatever their keys. Default False.
    """
    keyed = len(specs) if not in_turn and id(specs[0]) in keys else sum(id(spec) in keys for spec in specs)
    if keyed <= 1 or is_autocommit(connection):
        _insert_in_place(connection, specs, keys, in_turn)
        return
    with connection.begin_nested() as savepoint:
        if gone := _insert_once(connection, specs, keys, in_turn):
            savepoint.rollback()
    if gone:
        middle = len(specs) // 2
        insert_with_keys(connection, specs[:middle], keys, in_turn)
        insert_with_keys(connection, specs[middle:], keys, in_turn)


def _insert_in_place(
    connection: Connection, specs: Sequence[JobSpec], keys: Mapping[int, bytes], in_turn: bool
) -> None:
    """Insert jobs whose keys have no order, again and again those whose conflicting job is gone.

    From the second round on a job that was there before the round is an answer, too: else jobs that are short and many
    could keep this from ending.
    """
    before = _NONE
    for _ in range(_MOST_ROUNDS):
        if not (specs := _insert_once(connection, specs, keys, in_turn, before)):
            return
        before = holders(connection, specs, keys)
    raise ObanError(
        f"{len(specs)} unique jobs (the first: {specs[0]!r}) conflicted {_MOST_ROUNDS} times with jobs that were gone "
        "then; does a program insert and finish them in a loop, or a trigger of oban_jobs drop them (RETURN NULL)?"
    )


def holders(connection: Connection, specs: Iterable[JobSpec], keys: Mapping[int, bytes]) -> dict[bytes, Row[Any]]:
    """The jobs that have the keys of `specs` now, by key."""
    sought = sorted({key for spec in specs if (key := keys.get(id(spec))) is not None})
    return {row.uniq_key: row for row in winners.execute(connection, keys=sought)}


def insert_new(
    connection: Connection, specs: Sequence[JobSpec], keys: Mapping[int, bytes], in_turn: bool = False
) -> list[JobSpec]:
    """Insert what conflicts with no job, in one statement; the specs that it left out.

    :param specs: those without a key first, then in the order of their keys; in any order if they are `in_turn`.
    :raises ObanError: when it left out one without a key.
    """
    composed = in_turn or are_composed(specs)
    parameters = parameters_of(specs, composed)
    parameters["uniq_key"] = given = [keys.get(id(spec)) for spec in specs]
    statement = insert_composed_keyed if composed else insert_keyed
    if in_turn:
        statement = insert_in_turn
        # Of all jobs of the flush, because those of a second statement may come before those of the first one.
        parameters["buckets"] = sorted({key[0] % _BUCKETS for key in keys.values()})
    columns: list[Any] = [*answer_of(connection, statement, parameters)]
    if columns[0] is not None and columns[2] is None:
        take_written(specs, columns[:2])
        return []
    rows = iter(zip(*(column or () for column in columns), strict=True))
    row = next(rows, None)
    made: list[tuple[JobSpec, Any]] = []
    lost: list[JobSpec] = []
    for spec, key in zip(specs, given, strict=True):
        if row is not None and row[2] == key:
            made.append((spec, row))
            row = next(rows, None)
        elif key is None:
            raise left_out(specs[0], f"some of {len(specs)} jobs")
        else:
            lost.append(spec)
    for spec, found in made:
        spec.written(found[0], found[1], conflict=False)
    return lost


def _insert_once(
    connection: Connection,
    specs: Sequence[JobSpec],
    keys: Mapping[int, bytes],
    in_turn: bool,
    before: Mapping[bytes, Row[Any]] = _NONE,
) -> list[JobSpec]:
    """Insert what conflicts with no job.

    :param before: the jobs that had the keys a moment ago, by key. Default: none is known.
    :returns: the specs whose conflicting job is gone.
    """
    lost = insert_new(connection, specs, keys, in_turn)
    if not lost:
        return lost
    there = {**before, **holders(connection, lost, keys)}
    gone: list[JobSpec] = []
    for spec in lost:
        if (row := there.get(keys[id(spec)])) is not None:
            spec.written(row.id, row.state, conflict=True)
        else:
            gone.append(spec)
    return gone
