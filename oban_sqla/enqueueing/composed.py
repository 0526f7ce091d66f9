"""What the insertion sends of jobs that belong to others: to a flow, a batch, a chain or a chunk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from ..models import JobSpec
from ..models.kind import Kind
from ..statements.releases import tell_batches
from ..statements.sent import GROUPED, PLACED
from ..types import JobState
from ..workers.registry import workers

_NONE = (None,) * len(GROUPED)


def are_composed(specs: Iterable[JobSpec]) -> bool:
    """Whether some of these jobs belong to others."""
    grouped = workers.grouped
    last: Kind = ()
    for spec in specs:
        if spec.place is not None:
            return True
        if grouped and spec.kind is not last:  # thousands in a row share one
            if spec.worker in grouped:
                return True
            last = spec.kind
    return False


def are_news(specs: Iterable[JobSpec]) -> bool:
    """Whether some of these jobs, which were written, wait for their turn in a chain: one may take it at once."""
    return bool(workers.grouped) and any(
        spec.state == JobState.SUSPENDED and not spec.conflict and is_chained(spec) for spec in specs
    )


def tell_of_duplicates(connection: Connection, specs: Iterable[JobSpec]) -> bool:
    """Make news of batches all of whose `specs` were duplicates of other jobs; whether there are any.

    Such a batch may have ended, and no job of it will tell.
    """
    duplicate: set[int] = set()
    written: set[int] = set()
    for spec in specs:
        if spec.place is not None and (batch := spec.place.batch_id) is not None:
            (duplicate if spec.conflict else written).add(batch)
    if not (alone := sorted(duplicate - written)):
        return False
    tell_batches.execute(connection, batches=[str(one) for one in alone])
    return True


def is_chained(spec: JobSpec) -> bool:
    """Whether the job will wait for its turn in a chain."""
    return bool(workers.grouped) and (group := workers.grouped.get(spec.worker)) is not None and group.chain is not None


def take_turns(specs: Iterable[JobSpec], keys: Mapping[int, bytes]) -> bool:
    """Whether several of these jobs are in chains, and one of them is unique: then they are not sorted by their keys.

    :param keys: of the unique ones, by the identity of the spec.
    """
    chained = [spec for spec in specs if is_chained(spec)] if keys and workers.grouped else []
    return len(chained) > 1 and any(id(spec) in keys for spec in chained)


def composed_parameters(specs: Sequence[JobSpec], kinds: Iterable[Kind]) -> dict[str, Any]:
    """What their insertion takes beside the parameters of other jobs.

    :param kinds: of the jobs, each once and in order.
    """
    parameters = group_parameters(kinds)
    for one in PLACED:
        default = False if one.name == "suspended" else None
        parameters[one.name] = [default if spec.place is None else getattr(spec.place, one.name) for spec in specs]
    return parameters


def group_parameters(kinds: Iterable[Kind]) -> dict[str, Any]:
    """What is sent of the chains and chunks of jobs.

    :param kinds: of the jobs, each once and in order.
    """
    columns = zip(*(_group(kind) for kind in kinds), strict=True)
    return {
        one.name: list(values) if one.prepare is None else [one.prepare(value) for value in values]
        for one, values in zip(GROUPED, columns, strict=True)
    }


def group_of(kind: Kind) -> dict[str, Any] | None:
    """The parameters beside those of other jobs, for jobs of one kind; None where they belong to no others."""
    if kind[0] not in workers.grouped:
        return None
    return {
        one.name: value if one.prepare is None else one.prepare(value)
        for one, value in zip(GROUPED, _group(kind), strict=True)
    }


def _group(kind: Kind) -> tuple[Any, ...]:
    worker = workers.grouped.get(kind[0])
    if worker is None:
        return _NONE
    chain, chunk = worker.chain, worker.chunk
    return (
        None if chain is None else chain.prefix,
        None if chain is None else chain.fields,
        None if chunk is None else chunk.fields,
    )
