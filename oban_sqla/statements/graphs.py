"""Workflows for people who look at them: the newest, and the nodes and edges of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from typing import cast as cast_to

from sqlalchemy import BigInteger, Integer, Select, Text, cast, func, literal_column, null, select
from sqlalchemy import literal as value
from sqlalchemy.dialects.postgresql import ARRAY

from ..models.dependency import deps
from ..models.job import jobs
from ..models.workflow import workflows


def newest_flows(limit: int, before: int | None, state: str | None) -> Select[Any]:
    """The newest workflows that are not a part of another, with how many of their jobs are in which state."""
    each = (
        select(cast(jobs.c.state, Text).label("state"), func.count().label("jobs"))
        .where(jobs.c.workflow_id == workflows.c.id)
        .group_by(jobs.c.state)
        .correlate(workflows)
        .subquery("each")
    )
    counts: Any = select(func.coalesce(func.jsonb_object_agg(each.c.state, each.c.jobs), literal_column("'{}'::jsonb")))
    columns = (workflows.c.id, workflows.c.name, workflows.c.state, workflows.c.inserted_at, workflows.c.finished_at)
    query = cast_to("Select[Any]", select(*columns, counts.scalar_subquery().label("counts")))
    query = query.where(workflows.c.root_id.is_(None)).order_by(workflows.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(workflows.c.id < before)
    return query if state is None else query.where(workflows.c.state == state)


def one_flow(flow_id: int) -> Select[Any]:
    """A workflow, and the name of the one that it is a part of."""
    return cast_to("Select[Any]", select(workflows)).where(workflows.c.id == flow_id)


def nodes_of(flow_id: int, limit: int) -> Select[Any]:
    """The jobs of a workflow, the first one first, at most `limit`."""
    columns: list[Any] = [
        jobs.c.id, jobs.c.node_name.label("name"), cast(jobs.c.worker, Text).label("worker"),
        cast(jobs.c.state, Text).label("state"), jobs.c.attempt, jobs.c.max_attempts, jobs.c.attempted_at,
    ]  # fmt: skip
    query = cast_to("Select[Any]", select(*columns))
    return query.where(jobs.c.workflow_id == flow_id).order_by(jobs.c.id).limit(limit)


def parts_of(flow_id: int, limit: int) -> Select[Any]:
    """The workflows inside a workflow, the first one first, at most `limit`."""
    columns: list[Any] = [
        workflows.c.id, func.coalesce(workflows.c.node_name, workflows.c.name).label("name"),
        cast(null(), Text).label("worker"), workflows.c.state, cast(null(), Integer).label("attempt"),
    ]  # fmt: skip
    query = cast_to("Select[Any]", select(*columns))
    return query.where(workflows.c.parent_id == flow_id).order_by(workflows.c.id).limit(limit)


def jobs_in(flow_ids: Sequence[int], limit: int) -> Select[Any]:
    """The jobs of some workflows, and of which each is, at most `limit`."""
    query = cast_to("Select[Any]", select(jobs.c.id, jobs.c.workflow_id))
    return query.where(jobs.c.workflow_id == func.any(value(list(flow_ids), ARRAY(BigInteger)))).limit(limit)


def edges_into(job_ids: Sequence[int]) -> Select[Any]:
    """What the jobs wait for: a job, or a workflow by its negative id."""
    query = cast_to("Select[Any]", select(deps.c.dep_id, deps.c.job_id, deps.c.on_fail, deps.c.met))
    asked = deps.c.job_id == func.any(value(list(job_ids), ARRAY(BigInteger)))
    return query.where(asked).order_by(deps.c.job_id, deps.c.dep_id)
