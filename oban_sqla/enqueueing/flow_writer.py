"""Writing workflows at the flush: all jobs of all of them in one statement, then all edges in another."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Connection, inspect
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import flag_modified

from .. import telemetry
from ..errors import InvalidOption
from ..models import JobSpec, Workflow
from ..models.kind import FIELDS, OPTIONS, Kind
from ..models.node import Node
from ..options.encryption import using
from ..options.instance import Refer
from ..options.payload import encode
from ..options.reference import Path, Reference, node_of, part_of
from ..statements.flows import insert_chunked_nodes, insert_edges, insert_nodes, living, lock_keys, tell_flow
from ..workers.registry import workers
from .instances import refer_in
from .parameters import parameters_of, refuse_left_out, statements_for
from .wakeup import announce, announce_news, note_wake_ups
from .writer import encryption_for, jobs_connection

if TYPE_CHECKING:
    from sqlalchemy.orm import UOWTransaction

MOST_EDGES = 20_000
KEEPS = "keep_result"
"""The key in the meta of a job whose value is kept because another one uses it."""

_META = FIELDS.index(OPTIONS["meta"].attribute)

Edge = tuple[Node[Any] | int, str]
"""What is waited for, a node or what an edge calls it, and how a failure of it is taken."""


@dataclass(slots=True)
class Written:
    """A node on its way to the database."""

    flow_id: int
    node: Node[Any]
    spec: JobSpec
    references: list[tuple[Path, Reference]]
    inherited: Sequence[Edge]
    """From the workflows around it."""


def write_flows(session: Session, flows: Sequence[Workflow], flush: UOWTransaction | None) -> list[JobSpec]:
    """Insert the jobs of `flows`, whose own rows are written, and see to the wake-up. The specs of the jobs.

    :param flush: that is under way.
    """
    refer = partial(refer_in, session, flush)
    written = [one for flow in flows for one in _nodes(flow, refer)]
    return write_nodes(session, written, empty=[flow for flow in flows if not flow.nodes])


def write_nodes(session: Session, written: list[Written], empty: Sequence[Workflow] = ()) -> list[JobSpec]:
    """Insert jobs of workflows, and their edges.

    :param empty: workflows without a node, which end as soon as they are looked at.
    """
    connection = jobs_connection(session)
    specs = [one.spec for one in written]
    kinds: dict[Kind, Kind] = {}
    for one in written:
        if one.node.is_recorded:
            one.spec.kind = kinds.setdefault(one.spec.kind, _keeping(one.spec.kind))
    with telemetry.span("oban.engine.insert_jobs", specs=specs), using(encryption_for(connection)):
        place = 0
        for chunk in statements_for(specs):
            _insert(connection, written[place : place + len(chunk)])
            place += len(chunk)
        _insert_edges(connection, written)
    queues: set[str] = set()
    soon: set[str] = set()
    note_wake_ups([one.spec for one in written if not _waits(one)], queues, soon)
    if queues or soon:
        announce(session, connection, queues, soon)
    for flow in empty:
        tell_flow.execute(connection, flow=flow.id, jobs=[None], states=["check"])
    if empty:
        announce_news(session, connection)
    return specs


def _nodes(flow: Workflow, refer: Refer) -> Iterable[Written]:
    flow_id = inspect(flow).dict["_id"]
    inherited = _inherited(flow)
    for node in flow.nodes.values():
        if node.spec is not None:
            if node.spec.was_added:
                raise InvalidOption(
                    f"{node.spec!r} is part of {flow!r} and was added by itself, too; add the workflow alone"
                )
            yield Written(flow_id, node, node.spec, node.spec.fill_in_flow(refer), inherited)


def _inherited(flow: Workflow) -> list[Edge]:
    """What all jobs of `flow` wait for, because it is a node of another workflow."""
    found: list[Edge] = list(vars(flow).get("_outer_edges", ()))
    parent: Workflow | None = inspect(flow).dict.get("parent")
    node = None if parent is None else parent.nodes.get(str(flow.node_name))
    if parent is not None and node is not None:
        found += [(before, node.on_fail) for before in node.after]
        found += _inherited(parent)
    return found


def _waits(one: Written) -> bool:
    return bool(one.node.after or one.inherited)


def _insert(connection: Connection, written: Sequence[Written]) -> None:
    chunked = bool(workers.chunked) and any(one.spec.worker in workers.chunked for one in written)
    inserting = insert_chunked_nodes if chunked else insert_nodes
    parameters = parameters_of([one.spec for one in written], grouped=chunked)
    del parameters["uniq_mask"]
    if chunked:
        parameters["keyed"] = ",".join(["t" if _has_chunk_key(one) else "f" for one in written])
    row: Any = inserting.execute(
        connection,
        **parameters,
        flow=",".join([str(one.flow_id) for one in written]),
        node=[one.node.name for one in written],
        waits=",".join(["t" if _waits(one) else "f" for one in written]),
        refs=",".join([str(len(one.references)) for one in written]),
    ).one()
    ids, later_ones = row[0], row[1]
    refuse_left_out([one.spec for one in written], ids)
    for one, job_id, later in zip(written, ids, later_ones, strict=True):
        one.spec.written(job_id, "suspended" if _waits(one) else "scheduled" if later else "available", False)


def _has_chunk_key(one: Written) -> bool:
    """Whether it runs in chunks, and what these have in common is known before it is released."""
    worker = workers.chunked.get(one.spec.worker)
    if worker is None or worker.chunk is None:
        return False
    return not (one.references and any(field.startswith("args.") for field in worker.chunk.fields))


def _insert_edges(connection: Connection, written: Sequence[Written]) -> None:
    called: dict[Node[Any] | int, str] = {}
    deps: list[str] = []
    jobs: list[str] = []
    policies: list[str] = []
    refs: dict[str, list[Any]] = {}

    def name(before: Node[Any] | int) -> str:
        if (found := called.get(before)) is None:
            found = called[before] = str(before if isinstance(before, int) else before.edge_id)
        return found

    for one in written:
        if not _waits(one):
            continue
        job_id = str(one.spec.id)
        edges = {name(before): on_fail for before, on_fail in one.inherited}
        for before in one.node.after:
            edges[name(before)] = one.node.on_fail
        deps += edges
        jobs += [job_id] * len(edges)
        policies += edges.values()
        for path, reference in one.references:
            edge = f"{name(node_of(reference))}:{job_id}"
            refs.setdefault(edge, []).append([list(path), [str(key) for key in part_of(reference)]])
    for start in range(0, len(deps), MOST_EDGES):
        part = slice(start, start + MOST_EDGES)
        insert_edges.execute(
            connection,
            deps=",".join(deps[part]),
            jobs=",".join(jobs[part]),
            on_fail=",".join(policies[part]),
            refs=json.dumps(refs),
        )


def _keeping(kind: Kind) -> Kind:
    meta = encode({**json.loads(kind[_META]), KEEPS: True}, "meta")
    return (*kind[:_META], meta, *kind[_META + 1 :])


def prepare_flows(session: Session, flows: Sequence[Workflow]) -> None:
    """Before the rows of `flows` are written: find those that conflict, and take them out of the session.

    :raises InvalidOption: for one without nodes, or one that conflicts and is in a relationship.
    """
    for flow in flows:
        vars(flow).pop("_other", None)  # of a conflict when it was added before
        # A job that plans the next jobs may find nothing to do, as a map may have no elements.
        if not flow.nodes and not flow.is_map and flow.graft_of is None:
            raise InvalidOption(f"{flow!r} has no nodes; add jobs to it: flow.add(worker.new(…))")
        _relate_to_root(flow)
    if unique := [flow for flow in flows if flow.unique is not None]:
        _take_out_conflicting(session, unique)


def _relate_to_root(flow: Workflow) -> None:
    """Let the flush write the ids of the workflow around `flow`, and of the outermost one, if it is a part of one."""
    top = flow
    while top.parent is not None:
        top = top.parent
    if top is flow:
        return
    # As modified: the flush of one that was rolled back, and is added again, would keep the ids that never were.
    flag_modified(flow, "parent")
    if top.root_id is not None:
        flow.root_id = top.root_id
    else:
        flow.root = top
        flag_modified(flow, "root")


def _take_out_conflicting(session: Session, flows: Iterable[Workflow]) -> None:
    """Of workflows with one unique key only the first is written, and none where one lives already."""
    by_key: dict[str, list[Workflow]] = {}
    for flow in flows:
        by_key.setdefault(cast(str, flow.unique), []).append(flow)
    connection = jobs_connection(session)
    keys = sorted(by_key)
    lock_keys.execute(connection, keys=keys)
    alive = {row.uniq_key: row.id for row in living.execute(connection, keys=keys)}
    for key, several in by_key.items():
        winner: Workflow | int = alive[key] if key in alive else several.pop(0)
        for flow in several:
            _stand_aside(session, flow, winner)


def _stand_aside(session: Session, flow: Workflow, other: Workflow | int) -> None:
    for owner in (*session.new, *session.dirty):
        if owner is flow or isinstance(owner, Workflow):
            continue
        state = inspect(owner)
        for relation in state.mapper.relationships:
            value: Any = state.dict.get(relation.key)
            if value is flow or (isinstance(value, list) and flow in value):
                raise InvalidOption(
                    f"{type(owner).__name__}.{relation.key}: {flow!r} was not written, because another workflow with "
                    f"the key {flow.unique!r} lives; look for that before, or relate to it by its id"
                )
    for part in _with_parts(flow):
        session.expunge(part)
        vars(part)["_other"] = other


def _with_parts(flow: Workflow) -> list[Workflow]:
    return [flow, *(part for node in flow.nodes.values() if node.sub is not None for part in _with_parts(node.sub))]
