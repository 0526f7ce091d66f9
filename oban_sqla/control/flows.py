"""Changing a workflow as a whole: cancel, retry and delete, in the caller's transaction or in a new one."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from ..enqueueing.wakeup import announce_news
from ..enqueueing.writer import jobs_connection
from ..errors import InvalidOption
from ..models import Job, Workflow
from ..models.job import jobs
from ..options.instance import state_of
from ..statements.flows import delete_flow, inside_with, jobs_of, lock_tree, retry_flow, tree_of


def flow_id(flow: Workflow) -> int:
    """The id of `flow`, which has to be in the database.

    :raises InvalidOption: for one that is not written.
    """
    found = flow.id
    if found is None:
        raise InvalidOption(f"{flow!r} is not written: flush or commit its session first")
    return found


def cancel(session: Session, flow: Workflow, cancel_jobs: Callable[[Session, object], int]) -> int:
    """Cancel all jobs of `flow`, and of the workflows inside it, that have not finished."""
    session.flush()
    # No release goes on meanwhile, and a job of it that returns a workflow sees that it is cancelled.
    lock_tree.execute(jobs_connection(session), flow=flow_id(flow))
    return cancel_jobs(session, jobs_of(flow_id(flow)))


def retry(session: Session, flow: Workflow, from_node: str | None) -> int:
    """Let what failed in `flow` run again; or `from_node`, and what comes after it."""
    if from_node is not None and not isinstance(cast(object, from_node), str):
        raise InvalidOption(f"retry: from_node is the name of a node of {flow!r}, got {from_node!r}")
    session.flush()
    connection = jobs_connection(session)
    changed = retry_flow.execute(connection, flow=flow_id(flow), node=from_node).scalar_one()
    if changed < 0:
        raise InvalidOption(f"retry: {flow!r} {lacks(connection, flow_id(flow), str(from_node))}")
    announce_news(session, connection)
    for one in _loaded(session):
        session.expire(one)
    return int(changed)


def lacks(connection: Connection, flow: int, node: str) -> str:
    """That a workflow has no such node, in words; and which one inside it has."""
    inner: int | None = connection.scalar(inside_with(flow, node))
    return f"has no node {node!r}" + ("" if inner is None else f"; workflow {inner}, which is inside it, has one")


def delete(session: Session, flow: Workflow) -> int:
    """Delete `flow` with all of its jobs."""
    session.flush()
    connection = jobs_connection(session)
    gone = _loaded_of(session, connection, flow_id(flow))
    deleted = delete_flow.execute(connection, flow=flow_id(flow)).scalar_one()
    if deleted is None:
        raise InvalidOption(f"delete: a job of {flow!r} executes; cancel the workflow first")
    announce_news(session, connection)
    for one in gone:
        session.expunge(one)
    return int(deleted)


def _loaded_of(session: Session, connection: Connection, flow: int) -> list[Workflow | Job]:
    """What `session` has loaded of a workflow: itself, those inside it, and the jobs of all."""
    loaded = [(one, _id_of(one)) for one in _loaded(session)]
    of_flows: set[int] = {*tree_of.execute(connection, flow=flow).scalar_one()}
    of_jobs = {*connection.scalars(jobs_of(flow).where(jobs.c.id.in_([id for _, id in loaded])))}
    return [one for one, id in loaded if id in (of_flows if isinstance(one, Workflow) else of_jobs)]


def _id_of(one: Workflow | Job) -> int:
    """The id of what is loaded, also where its attributes are expired."""
    return int((state_of(one).identity or (0,))[0])


def _loaded(session: Session) -> list[Workflow | Job]:
    return [one for one in session.identity_map.values() if isinstance(one, Workflow | Job)]
