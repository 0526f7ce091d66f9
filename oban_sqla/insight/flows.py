"""Workflows as the command line shows them: a list with counts, and one workflow as a tree."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Text, cast, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import undefer

from ..models import Workflow
from ..models.dependency import deps
from ..models.job import jobs
from ..models.workflow import workflows
from ..statements.flows import tree_of
from ..telemetry.gist import gist


@dataclass(slots=True)
class Node:
    """A node of a tree.

    :ivar name: of the node.
    :ivar id: of its job, or of its workflow.
    :ivar kind: ``"job"`` or ``"workflow"``.
    :ivar state: of the job or the workflow.
    :ivar after: the names of the nodes that it waits for.
    :ivar error: its last error in one line; blank without an error.
    :ivar nodes: the nodes inside a workflow, or the workflows that a job has returned.
    """

    name: str
    id: int
    kind: str
    state: str
    after: list[str] = field(default_factory=list[str])
    error: str = ""
    nodes: list[Node] = field(default_factory=list["Node"])

    def as_dict(self) -> dict[str, Any]:
        """The node and all nodes inside it, as a dict that ``json.dumps`` accepts."""
        return {
            "name": self.name,
            "id": self.id,
            "kind": self.kind,
            "state": self.state,
            "after": self.after,
            "error": self.error,
            "nodes": [node.as_dict() for node in self.nodes],
        }


async def page(session: AsyncSession, limit: int, state: str | None, before: int | None) -> list[dict[str, Any]]:
    """The newest workflows that are not inside another one, each with the number of its jobs per state.

    :param limit: most workflows.
    :param state: only those in this state; None for all.
    :param before: only those with a lower id; None for all.
    """
    chosen = select(Workflow).where(Workflow.root_id.is_(None)).order_by(Workflow.id.desc()).limit(limit)
    if state is not None:
        chosen = chosen.where(Workflow.state == state)
    if before is not None:
        chosen = chosen.where(Workflow.id < before)
    found = await session.scalars(chosen.options(undefer(Workflow.counts)))
    return [
        {
            "id": flow.id,
            "name": flow.name,
            "state": flow.state,
            "jobs": flow.counts,
            "inserted_at": flow.inserted_at,
            "finished_at": flow.finished_at,
        }
        for flow in found
    ]


def tree(connection: Connection, flow_id: int) -> Node | None:
    """The workflow and everything inside it; None when there is none with this id."""
    ids: list[int] = tree_of.execute(connection, flow=flow_id).scalar_one()
    columns = (workflows.c.id, workflows.c.name, workflows.c.node_name, workflows.c.state)
    inside = (workflows.c.parent_id, workflows.c.graft_of)
    parts = connection.execute(select(*columns, *inside).where(workflows.c.id.in_(ids)).order_by(workflows.c.id)).all()
    flows = {part.id: Node(part.node_name or part.name, part.id, "workflow", part.state) for part in parts}
    if flow_id not in flows:
        return None
    error = jobs.c.errors.op("->")(-1).op("->>")("error").label("error")
    state = cast(jobs.c.state, Text).label("state")
    of_jobs = (
        select(jobs.c.id, jobs.c.node_name, jobs.c.workflow_id, state, error)
        .where(jobs.c.workflow_id.in_(list(flows)))
        .order_by(jobs.c.id)
    )
    leaves: dict[int, Node] = {}
    for row in connection.execute(of_jobs):
        said = (gist(row.error) or "")[:200]
        leaves[row.id] = Node(row.node_name or f"job {row.id}", row.id, "job", row.state, error=said)
        flows[row.workflow_id].nodes.append(leaves[row.id])
    for part in parts:
        home = flows.get(part.parent_id) if part.graft_of is None else leaves.get(part.graft_of)
        if home is not None and part.id != flow_id:
            home.nodes.append(flows[part.id])
    edges = select(deps.c.dep_id, deps.c.job_id).where(deps.c.job_id.in_(list(leaves))).order_by(deps.c.dep_id)
    for dep_id, job_id in connection.execute(edges):
        before = leaves.get(dep_id) if dep_id > 0 else flows.get(-dep_id)
        leaves[job_id].after.append(before.name if before is not None else f"job {dep_id}")
    return flows[flow_id]


def age(row: dict[str, Any], now: datetime) -> float:
    """Seconds that a workflow has taken, until its end or until now."""
    return float(((row["finished_at"] or now) - row["inserted_at"]).total_seconds())
