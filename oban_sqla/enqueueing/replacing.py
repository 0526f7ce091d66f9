"""Writing unique jobs whose duplicates change the job that is there.

First the rows that are there are locked, in the order of their ids; then the other jobs are inserted, in the order of
their keys; and only then the rows are changed, because the insertion of a key waits for a change of its row. So a
transaction that waits for a key that another one inserts holds no row out of order, and one that waits for a row has
inserted nothing. Where an insertion meets a job that has come, or gone, since the rows were looked for, everything is
given up and begun again: to wait for its row now would be out of order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from ..errors import ObanError
from ..models import JobSpec
from ..models.kind import Kind
from ..options.replacing import REPLACEABLE
from ..options.unique import BITS, Unique
from ..statements.replace import lock_keyed, replace_keyed
from ..types import JobState
from .driver import answer_of, is_autocommit
from .keyed import holders, insert_new
from .parameters import insertion, parameters_with_uniques, statements_for, take_written

_MOST_ROUNDS = 100


@dataclass(slots=True)
class Moved:
    """The queues in which existing jobs have become available, or are due in a moment."""

    available: set[str]
    soon: set[str]


@dataclass(slots=True)
class _Group:
    """The specs with one key: the first one is inserted, or changes what is there as the others do."""

    key: bytes
    specs: list[JobSpec]

    def layers(self) -> list[tuple[JobSpec, int]]:
        """The specs to write one after the other, each with its priority: of equal ones in a row the last is enough."""
        first, *others = self.specs
        layers = [(first, first.priority)]
        best = 9
        for number, spec in enumerate(others):
            best = min(best, spec.priority)
            following = others[number + 1] if number + 1 < len(others) else None
            if following is None or not _is_uniform(spec.unique) or following.unique != spec.unique:
                layers.append((spec, best))
                best = 9
        return layers


def replaces(specs: Iterable[JobSpec]) -> bool:
    """Whether a duplicate of one of `specs` changes the job that is there."""
    last: Kind | None = None
    for spec in specs:
        if spec.kind is not last:  # thousands in a row share one
            last = spec.kind
            if spec.unique is not None and spec.unique.changes:
                return True
    return False


def write_replacing(connection: Connection, specs: Sequence[JobSpec], keys: Mapping[int, bytes], moved: Moved) -> None:
    """Write jobs of which some change a job that is there.

    :param keys: the keys of those that have one, by the identity of the spec.
    :param moved: gets the queues that are to be woken for jobs that were there.
    :raises ObanError: when jobs with their keys come and go all the time.
    """
    for chunk in statements_for([spec for spec in specs if id(spec) not in keys]):
        statement, parameters = insertion(chunk)
        take_written(chunk, answer_of(connection, statement, parameters))
    groups = _groups(specs, keys)
    if is_autocommit(connection):  # each statement is a transaction, which holds nothing while the next one waits
        for group in groups:
            _write_all(connection, [group], moved)
    else:
        _write_all(connection, groups, moved)


def _write_all(connection: Connection, groups: Sequence[_Group], moved: Moved) -> None:
    for _ in range(_MOST_ROUNDS):
        found = Moved(set(), set())
        if len(groups) == 1:
            again = _write(connection, groups, found)  # it holds nothing when it has to begin again
        else:
            with connection.begin_nested() as savepoint:
                if again := _write(connection, groups, found):
                    savepoint.rollback()
        if not again:
            moved.available |= found.available
            moved.soon |= found.soon
            return
    raise ObanError(
        f"{len(groups)} unique jobs (the first: {groups[0].specs[0]!r}) met {_MOST_ROUNDS} times jobs that had come or "
        "gone meanwhile; does a program insert and finish them in a loop, or a trigger of oban_jobs drop them (RETURN "
        "NULL)?"
    )


def _groups(specs: Sequence[JobSpec], keys: Mapping[int, bytes]) -> list[_Group]:
    """The specs by key, in the order of the keys."""
    by_key: dict[bytes, _Group] = {}
    for spec in specs:
        if (key := keys.get(id(spec))) is not None:
            by_key.setdefault(key, _Group(key, [])).specs.append(spec)
    return [by_key[key] for key in sorted(by_key)]


def _write(connection: Connection, groups: Sequence[_Group], moved: Moved) -> list[_Group]:
    """Write each group; those that have to be begun again, because a job with their key has come or gone."""
    layers = [group.layers() for group in groups]
    first = [(group, *layer[0]) for group, layer in zip(groups, layers, strict=True)]
    # Of one key alone nothing is held while it is waited for.
    held = _locked(connection, first) if len(first) > 1 else _replaced(connection, first, moved).keys()
    if again := _inserted(connection, [each for each in first if each[0].key not in held]):
        return again
    if len(first) > 1:
        _replaced(connection, [each for each in first if each[0].key in held], moved)
    for number in range(1, max(map(len, layers), default=0)):
        deeper = [(group, *of[number]) for group, of in zip(groups, layers, strict=True) if number < len(of)]
        _replaced(connection, deeper, moved)
    for group in groups:
        _tell(group)
    return []


_Each = tuple[_Group, JobSpec, int]


def _locked(connection: Connection, given: Sequence[_Each]) -> Collection[bytes]:
    """Lock the jobs that `given` change; their keys."""
    by_key = {group.key: spec for group, spec, _ in given}
    changing = [key for key, spec in by_key.items() if spec.unique is not None and spec.unique.changes]
    if not changing:
        return ()
    rows = lock_keyed.execute(connection, keys=sorted(changing))
    return {row.uniq_key for row in rows if _could_change(by_key[row.uniq_key].unique, row.state)}


def _replaced(connection: Connection, given: Sequence[_Each], moved: Moved) -> Mapping[bytes, Any]:
    """Change the jobs that hold the keys of `given`, where these change them; what they are now, by key."""
    changing = [each for each in given if (unique := each[1].unique) is not None and unique.changes]
    rows: dict[bytes, Any] = {}
    for part in statements_for([spec for _, spec, _ in changing]):
        here, changing = changing[: len(part)], changing[len(part) :]
        answer = replace_keyed.execute(connection, **_parameters(here)).all()
        rows |= {row.uniq_key: row for row in answer}
        for group, spec, _ in here:
            if (row := rows.get(group.key)) is not None:
                spec.written(row.id, row.state, conflict=True)
                if row.state == JobState.AVAILABLE and _moves(spec.unique):
                    moved.available.add(row.queue)
                elif row.soon and _moves(spec.unique):
                    moved.soon.add(row.queue)
    return rows


def _inserted(connection: Connection, given: Sequence[_Each]) -> list[_Group]:
    """Insert those of which there is no job; the groups that are to be begun again."""
    again: list[_Group] = []
    keys = {id(spec): group.key for group, spec, _ in given}
    groups = {group.key: group for group, _, _ in given}
    for part in statements_for([spec for _, spec, _ in given]):
        if lost := insert_new(connection, part, keys):
            there = holders(connection, lost, keys)
            for spec in lost:
                row = there.get(keys[id(spec)])
                if row is None or _could_change(spec.unique, row.state):
                    again.append(groups[keys[id(spec)]])
                else:
                    spec.written(row.id, row.state, conflict=True)
    return again


def _tell(group: _Group) -> None:
    """Give what was written of a group to those of its specs that were passed over."""
    first = group.specs[0]
    state = [*(spec.state for spec, _ in group.layers())][-1]
    for spec in group.specs[1:]:
        spec.written(first.id, str(state or first.state), conflict=True)


def _could_change(unique: Unique | None, state: str) -> bool:
    return unique is not None and bool(unique.changes & BITS.get(state, 0))


def _moves(unique: Unique | None) -> bool:
    """Whether it may move a job to another time or queue, of which a node has to hear."""
    return unique is not None and (unique.debounce is not None or bool({"scheduled_at", "queue"} & {*unique.replacing}))


def _is_uniform(unique: Unique | None) -> bool:
    """Whether the same fields are replaced in every state, so that what earlier ones change does not matter."""
    return unique is not None and len(set(unique.replacing.values())) < 2


def _parameters(given: Sequence[_Each]) -> dict[str, Any]:
    parameters, uniques = parameters_with_uniques([spec for _, spec, _ in given])
    for name in REPLACEABLE:
        parameters[f"of_{name}"] = [unique.replacing.get(name, 0) for unique in uniques]
    parameters["changes"] = [unique.changes for unique in uniques]
    parameters["debounce"] = [unique.delay for unique in uniques]
    parameters["longest"] = [unique.longest_delay for unique in uniques]
    parameters["uniq_key"] = [group.key for group, _, _ in given]
    parameters["best"] = [best for _, _, best in given]
    return parameters
