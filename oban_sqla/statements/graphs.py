"""Workflows for people who look at them: the newest, and the nodes and edges of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from typing import cast as cast_to

from sqlalchemy import (
    BigInteger,
    Integer,
    Select,
    Text,
    cast,
    func,
    literal_column,
    null,
    select,
    type_coerce,
    union_all,
)
from sqlalchemy import literal as value
from sqlalchemy.dialects.postgresql import ARRAY

from ..models.dependency import deps
from ..models.job import jobs
from ..models.workflow import workflows
from ..types import UTCDateTime
from .functions import FlowTree

COUNTED = 1_000
"""Nodes of each workflow in a list that are counted."""


WINDOW = 2_000
"""Jobs of a workflow among which the first are looked for."""


def newest_flows(limit: int, before: int | None, state: str | None) -> Select[Any]:
    """The newest workflows that are not a part of another, with how many of their nodes, up to :data:`COUNTED`, are in
    which state: of their jobs, and of the workflows inside them."""
    parts = workflows.alias("parts")
    own = (
        select(cast(jobs.c.state, Text).label("state")).where(jobs.c.workflow_id == workflows.c.id),
        select(parts.c.state).where(parts.c.parent_id == workflows.c.id),
    )
    some = union_all(*(one.correlate(workflows) for one in own)).limit(COUNTED).subquery("some")
    each = select(some.c.state, func.count().label("nodes")).group_by(some.c.state).subquery("each")
    known = func.jsonb_object_agg(each.c.state, each.c.nodes)
    counts: Any = select(func.coalesce(known, literal_column("'{}'::jsonb")))
    columns = (workflows.c.id, workflows.c.name, workflows.c.state, workflows.c.inserted_at, workflows.c.finished_at)
    query = cast_to("Select[Any]", select(*columns, counts.scalar_subquery().label("counts")))
    query = query.where(workflows.c.root_id.is_(None)).order_by(workflows.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(workflows.c.id < before)
    return query if state is None else query.where(workflows.c.state == state)


def one_flow(flow_id: int) -> Select[Any]:
    """A workflow, and the name of the one that it is a part of."""
    return cast_to("Select[Any]", select(workflows)).where(workflows.c.id == flow_id)


def count_in_tree(flow_id: int, most: int) -> Select[Any]:
    """How many jobs a workflow has, with those of the workflows inside it, counted up to `most`."""
    tree = type_coerce(FlowTree(value(flow_id, BigInteger)), ARRAY(BigInteger))
    some = select(jobs.c.id).where(jobs.c.workflow_id == func.any(tree)).limit(most).subquery("some")
    return cast_to("Select[Any]", select(func.count()).select_from(some))


def nodes_of(flow_id: int, limit: int) -> Select[Any]:
    """The jobs of a workflow, the first one first, at most `limit`, of the first :data:`WINDOW` that an index gives."""
    ended = (jobs.c.completed_at, jobs.c.discarded_at, jobs.c.cancelled_at)
    columns: list[Any] = [
        jobs.c.id, jobs.c.node_name.label("name"), cast(jobs.c.worker, Text).label("worker"),
        cast(jobs.c.state, Text).label("state"), jobs.c.attempt, jobs.c.max_attempts, jobs.c.attempted_at,
        jobs.c.scheduled_at.label("due_at"),
        func.coalesce(*ended, type_=UTCDateTime()).label("ended_at"),
    ]  # fmt: skip
    window = select(jobs.c.id).where(jobs.c.workflow_id == flow_id).limit(WINDOW).subquery("some")
    query = cast_to("Select[Any]", select(*columns)).join(window, window.c.id == jobs.c.id)
    return query.order_by(jobs.c.id).limit(limit)


def parts_of(flow_id: int, limit: int) -> Select[Any]:
    """The workflows inside a workflow, the first one first, at most `limit`."""
    columns: list[Any] = [
        workflows.c.id, func.coalesce(workflows.c.node_name, workflows.c.name).label("name"),
        cast(null(), Text).label("worker"), workflows.c.state, cast(null(), Integer).label("attempt"),
        cast(null(), Integer).label("max_attempts"), workflows.c.inserted_at.label("attempted_at"),
        cast(null(), UTCDateTime).label("due_at"), workflows.c.finished_at.label("ended_at"),
    ]  # fmt: skip
    query = cast_to("Select[Any]", select(*columns))
    return query.where(workflows.c.parent_id == flow_id).order_by(workflows.c.id).limit(limit)


def jobs_in(flow_ids: Sequence[int], limit: int) -> Select[Any]:
    """The jobs of some workflows, and of which each is, at most `limit`."""
    query = cast_to("Select[Any]", select(jobs.c.id, jobs.c.workflow_id))
    return query.where(jobs.c.workflow_id == func.any(value(list(flow_ids), ARRAY(BigInteger)))).limit(limit)


def edges_into(job_ids: Sequence[int], dep_ids: Sequence[int]) -> Select[Any]:
    """What the jobs wait for, of `dep_ids`: jobs, or workflows by their negative ids."""
    query = cast_to("Select[Any]", select(deps.c.dep_id, deps.c.job_id))
    ends = zip((deps.c.job_id, deps.c.dep_id), (job_ids, dep_ids), strict=True)
    asked = [end == func.any(value(list(ids), ARRAY(BigInteger))) for end, ids in ends]
    return query.where(*asked).order_by(deps.c.job_id, deps.c.dep_id)
