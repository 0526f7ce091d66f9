"""What an earlier run of a job has appended to its workflow. Else it could not run again."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from ..enqueueing.binds import FOR_WRITING
from ..enqueueing.instances import refer_in
from ..models import JobSpec, Workflow
from ..models.job import jobs
from ..models.node import Node
from ..models.workflow import workflows
from ..workers.context import running
from ..workers.sealing import opened_value


def was_appended(session: Session, what: JobSpec[Any] | Workflow, node: int) -> bool:
    """Whether `node` is what `what` makes, and was there before the present run began. Then `what` is given its id.

    :param node: a job, or minus a workflow.
    """
    row: Any = getattr(running.get(None), "row", None)
    if row is None or (node < 0) != isinstance(what, Workflow):
        return False
    began = row.attempted_at.replace(tzinfo=None)
    found: list[tuple[JobSpec[Any] | Workflow, Any]] = []
    is_same = (
        _is_same_flow(session, what, -node, began, found)
        if isinstance(what, Workflow)
        else _is_same_job(session, what, _rows(session, jobs.c.id == node), began, found)
    )
    for one, there in found if is_same else ():
        if isinstance(one, Workflow):
            vars(one)["_other"] = there.id
        else:
            one.written(there.id, there.state, True)
    return is_same


def _is_same_flow(session: Session, flow: Workflow, flow_id: int, began: Any, found: list[Any]) -> bool:
    """Whether the workflow `flow_id` has all nodes of `flow`. It may have more: it has grown since."""
    columns = (workflows.c.id, workflows.c.name, workflows.c.node_name, workflows.c.inserted_at)
    connection = session.connection(bind_arguments=FOR_WRITING)
    there = connection.execute(select(*columns).where(workflows.c.id == flow_id)).one_or_none()
    if there is None or there.name != flow.name or _naive(there) >= began:
        return False
    found.append((flow, there))
    in_it = select(*columns).where(workflows.c.parent_id == flow_id, workflows.c.graft_of.is_(None))
    inner = {one.node_name: one.id for one in connection.execute(in_it)}
    rows = _rows(session, jobs.c.workflow_id == flow_id)
    return all(
        _is_same_node(session, node, inner.get(node.name, 0), rows, began, found) for node in flow.nodes.values()
    )


def _is_same_node(session: Session, node: Node[Any], inner: int, rows: Any, began: Any, found: list[Any]) -> bool:
    if node.sub is not None:
        return _is_same_flow(session, node.sub, inner, began, found)
    assert node.spec is not None
    return _is_same_job(session, node.spec, [one for one in rows if one.node_name == node.name], began, found)


def _is_same_job(session: Session, spec: JobSpec[Any], rows: Any, began: Any, found: list[Any]) -> bool:
    [there] = rows or [None]
    if there is None or there.worker != spec.worker or _naive(there) >= began:
        return False
    # A result among the arguments is known only when the node that it comes from has finished.
    later = {path[0] for path, _ in spec.fill_in_flow(partial(refer_in, session, None))}
    given: dict[str, Any] = json.loads(spec.args_json or "{}")
    stored: dict[str, Any] = opened_value(there.worker, there.args)
    found.append((spec, there))
    return all(given.get(key) == stored.get(key) for key in (given.keys() | stored.keys()) - later)


def _rows(session: Session, which: ColumnElement[bool]) -> Any:
    wanted = select(jobs.c.id, jobs.c.worker, jobs.c.args, jobs.c.state, jobs.c.node_name, jobs.c.inserted_at)
    return session.connection(bind_arguments=FOR_WRITING).execute(wanted.where(which)).all()


def _naive(row: Any) -> Any:
    return row.inserted_at.replace(tzinfo=None)
