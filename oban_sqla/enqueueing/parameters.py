"""The statements that insert specs, and their parameters. Arguments are encrypted here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from operator import itemgetter
from typing import Any

from ..errors import ObanError
from ..models import JobSpec
from ..models.kind import FIELDS, Kind, kind_of
from ..options.unique import Unique
from ..statements.insert import CHUNK, insert_bare, insert_composed, insert_one, insert_plain
from ..statements.sent import KIND, UNSAID
from ..statements.statement import Statement
from ..workers.registry import workers
from ..workers.sealing import sealed_args
from .composed import are_composed, composed_parameters, group_parameters

LARGEST_BYTES = 8_388_608
"""Of args and meta in one statement. A server takes 1 GiB at most, and a slow line far less in the time it has."""

_UNIQUE = FIELDS.index("unique")
_KIND = [(one.name, at, one.prepare) for at, one in enumerate(KIND)]
_WITHOUT_KEY = [one for one in _KIND if one[1] != _UNIQUE]
_BARE = [one for one in _WITHOUT_KEY if one[0] not in UNSAID]
_options_of = itemgetter(*(at for name, at, _ in _KIND if name in UNSAID))
_DEFAULTS = _options_of(kind_of("any"))


def insertion(specs: Sequence[JobSpec]) -> tuple[Statement, dict[str, Any]]:
    """The statement that inserts `specs`, which have no keys, and its parameters. Its answer is one row."""
    if (composed := are_composed(specs)) or len(specs) > 1:
        parameters = parameters_of(specs, composed)
        del parameters["uniq_mask"]
        return insert_composed if composed else insert_plain, parameters
    [spec] = specs
    kind = spec.kind
    statement, sent = (insert_bare, _BARE) if _options_of(kind) == _DEFAULTS else (insert_one, _WITHOUT_KEY)
    parameters = {name: kind[at] if prepare is None else prepare(kind[at]) for name, at, prepare in sent}
    parameters["args"] = sent_args(spec) if kind[0] in workers.encrypted else spec.args_json
    return statement, parameters


def take_written(specs: Sequence[JobSpec], row: Sequence[Any]) -> None:
    """Give `specs` what their :func:`insertion` returned: the ids, and which of them wait for their time.

    :param row: of two lists, or for one spec of two values; empty, or of None, where nothing was inserted.
    :raises ObanError: when a job was not inserted.
    """
    columns = row if row and isinstance(row[0], list) else [[one] for one in row if one is not None]
    refuse_left_out(specs, columns[0] if columns else ())
    for spec, job_id, state in zip(specs, *columns, strict=True):
        spec.written(job_id, state, conflict=False)


def refuse_left_out(specs: Sequence[JobSpec], ids: Sequence[int] | None) -> None:
    """Which job has which id is known by their order alone, so all must be there.

    :param ids: of the jobs that were inserted; None for none.
    :raises ObanError: when there are fewer than specs.
    """
    if (number := len(ids or ())) < len(specs):
        raise left_out(specs[0], f"{len(specs) - number} of {len(specs)} jobs")


def left_out(first: JobSpec, what: str) -> ObanError:
    """The error for jobs that the database has not inserted, and to which nothing there is a duplicate."""
    return ObanError(
        f"{what} were not inserted, and the database raised no error: a trigger BEFORE INSERT of oban_jobs returns "
        "NULL, or a rule does something else instead; let it raise an exception, or do not enqueue such jobs. The "
        f"first one given is {first!r}"
    )


def parameters_of(specs: Sequence[JobSpec], composed: bool = False, grouped: bool = False) -> dict[str, Any]:
    """The arrays of the insert statements: each job's args, and the rest once for each kind of job.

    :param composed: whether some of the jobs belong to others. Default False.
    :param grouped: whether that is only because they run in chunks. Default False.
    """
    numbers: dict[Kind, int] = {}
    kind: list[int] = []
    number, last = 0, None
    for spec in specs:
        if spec.kind is not last:  # thousands in a row share one, and hashing it takes longer than the comparison
            last = spec.kind
            number = numbers.setdefault(_masked(last), len(numbers) + 1)
        kind.append(number)
    more = composed_parameters(specs, numbers) if composed else group_parameters(numbers) if grouped else {}
    return {"kind": kind, **_arrays(specs, numbers), **more}


def parameters_with_uniques(specs: Sequence[JobSpec]) -> tuple[dict[str, Any], list[Unique]]:
    """The arrays of the insert statements for unique specs, and what is unique of each kind, in their order."""
    numbers: dict[Kind, int] = {}
    kind = [numbers.setdefault(spec.kind, len(numbers) + 1) for spec in specs]
    return {"kind": kind, **_arrays(specs, [*map(_masked, numbers)])}, [kind[_UNIQUE] for kind in numbers]


def _arrays(specs: Sequence[JobSpec], kinds: Iterable[Kind]) -> dict[str, Any]:
    columns: list[tuple[Any, ...]] = [*zip(*kinds, strict=True)]
    parameters: dict[str, Any] = {
        name: columns[at] if prepare is None else [prepare(value) for value in columns[at]]
        for name, at, prepare in _KIND
    }
    is_plain = workers.encrypted.isdisjoint(columns[0])
    args = [spec.args_json if is_plain else sent_args(spec) for spec in specs]
    return {"args": args, **parameters}


def sent_args(spec: JobSpec) -> str:
    """The args as they are stored: encrypted, if the worker of this name encrypts them. The spec keeps them plain.

    :raises InvalidOption: where there are no keys.
    :raises InvalidArgs: when they are too long.
    """
    return sealed_args(spec.worker, spec.args_json)


def _masked(kind: Kind) -> Kind:
    """`kind` with the mask of its unique, which is what a row holds of it."""
    unique: Unique | None = kind[_UNIQUE]
    return kind if unique is None else (*kind[:_UNIQUE], unique.mask, *kind[_UNIQUE + 1 :])


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


def chunks(specs: Iterator[JobSpec]) -> Iterator[list[JobSpec]]:
    """`specs` in lists of as many as one statement takes."""
    while chunk := list(islice(specs, CHUNK)):
        yield chunk


def statements_for(specs: list[JobSpec]) -> Iterator[list[JobSpec]]:
    """`specs` in parts that one statement takes, by their number and their size."""
    for chunk in chunks(iter(specs)):
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
