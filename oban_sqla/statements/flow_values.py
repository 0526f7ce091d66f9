"""Where the value of a node of a workflow comes from, and where it goes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Executable, Select, Text, and_, case, cast, exists, func, literal_column, or_, select

from ..models.dependency import deps
from ..models.job import jobs
from ..models.workflow import workflows
from .statement import parameter, state, statement


@statement
def recorder_of() -> Executable:
    """The name of the worker that has recorded the value of the job `node`. No row: it has recorded none."""
    has = jobs.c.meta.op("->>", return_type=Text())(literal_column("'recorded'")) == literal_column("'true'")
    is_completed = cast(jobs.c.state, Text) == state("completed")
    return select(cast(jobs.c.worker, Text).label("worker")).where(_is(jobs.c.id), is_completed, has)


@statement
def parts_of() -> Executable:
    """The nodes whose values make that of `node`, a job that has returned a workflow or minus a workflow: one, or those
    of a map in the order of its elements; and whether it is a map."""
    node = parameter("node", BigInteger)
    flow: Any = (
        select(workflows.c.id, workflows.c.is_map, workflows.c.returns)
        .where(or_(workflows.c.graft_of == node, workflows.c.id == -node))
        .order_by(workflows.c.graft_of, workflows.c.id.desc())  # all are of one job; not the order of the primary key
        .limit(1)
        .cte("flow")
    )
    of_jobs = select(jobs.c.id.label("node"), flow.c.is_map).where(
        jobs.c.workflow_id == flow.c.id, or_(flow.c.is_map, jobs.c.node_name == flow.c.returns)
    )
    of_flows = select(-workflows.c.id, flow.c.is_map).where(
        ~flow.c.is_map,
        workflows.c.parent_id == flow.c.id,
        workflows.c.node_name == flow.c.returns,
        workflows.c.graft_of.is_(None),
    )
    return of_jobs.union_all(of_flows).order_by("node")


@statement
def use_of() -> Executable:
    """Whether the value of `node`, a job or minus a workflow, is among the arguments of a job (`is_used`); and the node
    around it that has the same value, null where there is none (`around`)."""
    used = exists().where(_is(deps.c.dep_id), deps.c.refs.is_not(None))
    flow, outer = workflows.alias("flow"), workflows.alias("outer")
    of_job = _around(outer, jobs.c.node_name).select_from(jobs.join(outer, outer.c.id == jobs.c.workflow_id))
    of_flow = select(func.coalesce(flow.c.graft_of, case((_gives(outer, flow.c.node_name), -outer.c.id)))).select_from(
        flow.outerjoin(outer, outer.c.id == flow.c.parent_id)
    )
    return select(
        used.label("is_used"),
        func.coalesce(
            of_job.where(_is(jobs.c.id)).scalar_subquery(), of_flow.where(_is(-flow.c.id)).scalar_subquery()
        ).label("around"),
    )


def _is(column: Any) -> Any:
    return column == parameter("node", BigInteger)


def _around(outer: Any, name: Any) -> Select[Any]:
    return select(-outer.c.id).where(_gives(outer, name))


def _gives(outer: Any, name: Any) -> Any:
    """Whether the value of the node of this name is that of `outer`, or a part of it."""
    return or_(outer.c.is_map, and_(outer.c.returns.is_not(None), outer.c.returns == name))
