"""A job that returns a workflow: the workflow takes its place, and what depends on the job waits for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from ..enqueueing.writer import jobs_connection
from ..errors import InvalidOption, ObanError
from ..models import Workflow
from ..models.node import sources_in
from ..statements.flow_values import use_of
from ..statements.flows import is_cancelling, lock_tree, replace_graft
from ..workers.sealing import encrypts
from .acks import Ack, Graft


def attach(session: Session, acks: Iterable[Ack]) -> None:
    """Write the workflows of `acks` in the transaction of `session`, each in the place of its job.

    The tree of a job's workflow is locked first: no release of it, and no cancellation, comes between.

    :raises InvalidOption: for one that was written before, or is a part of another, and for one that returns what is
        encrypted where that would be an argument of another job.
    :raises ObanError: when the job was asked to stop.
    """
    for ack in acks:
        if ack.graft is not None:
            _attach(session, ack, ack.graft)


def _attach(session: Session, ack: Ack, graft: Graft) -> None:
    flow, workflow_id, node_name = graft.flow, graft.workflow_id, graft.node_name
    if flow.id is not None or flow in session or flow.parent is not None:
        raise InvalidOption(f"job {ack.id} returned {flow!r}, which was added before; return one that is new")
    if flow.unique is not None:
        raise InvalidOption(f"job {ack.id} returned {flow!r}: a workflow in the place of a job can't be unique")
    connection = jobs_connection(session)
    if workflow_id is not None:
        root = lock_tree.execute(connection, flow=workflow_id).scalar()
        if is_cancelling.execute(connection, job=ack.id).scalar() is not None:
            raise ObanError(f"job {ack.id} was cancelled before its workflow was written")
        if root is not None:
            flow.parent_id, flow.root_id = workflow_id, root
        _refuse_encrypted(connection, flow, ack)
    replace_graft.execute(connection, job=ack.id)
    flow.graft_of = ack.id
    flow.node_name = node_name
    session.add(flow)
    session.flush()


def _refuse_encrypted(connection: Connection, flow: Workflow, ack: Ack) -> None:
    """Refuse a workflow that returns what an encrypted worker records, where another job takes it as an argument."""
    source = next((spec.worker for spec in sources_in(flow, is_map=flow.is_map) if encrypts(spec.worker)), None)
    node = None if source is None else ack.id
    while node is not None:  # from the job to the workflows around it that return the same value
        found: Any = use_of.execute(connection, node=node).one()
        if found.is_used:
            raise InvalidOption(
                f"job {ack.id} returned {flow!r}, which returns what {source} encrypts, and another job takes the "
                "result as an argument; store it yourself, and pass what identifies it"
            )
        node = found.around
