"""Changing a workflow as a whole: cancel, retry and delete, in the caller's transaction or in a new one."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from sqlalchemy import inspect
from sqlalchemy.orm import Session

from ..enqueueing.wakeup import announce_news
from ..enqueueing.writer import jobs_connection
from ..errors import InvalidOption
from ..models import Job, Workflow
from ..statements.flows import delete_flow, jobs_of, lock_tree, retry_flow


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
        raise InvalidOption(f"retry: {flow!r} has no node {from_node!r}")
    announce_news(session, connection)
    _expire(session)
    return int(changed)


def delete(session: Session, flow: Workflow) -> int:
    """Delete `flow` with all of its jobs."""
    session.flush()
    connection = jobs_connection(session)
    deleted = delete_flow.execute(connection, flow=flow_id(flow)).scalar_one()
    if deleted is None:
        raise InvalidOption(f"delete: a job of {flow!r} executes; cancel the workflow first")
    announce_news(session, connection)
    gone = {flow_id(flow)}
    for one in list(session.identity_map.values()):
        if (isinstance(one, Workflow) and one.id in gone) or (isinstance(one, Job) and _is_of(one, gone)):
            session.expunge(one)
    return int(deleted)


def _is_of(job: Job, flows: set[int]) -> bool:
    return inspect(job).dict.get("workflow_id") in flows


def _expire(session: Session) -> None:
    for one in session.identity_map.values():
        if isinstance(one, Workflow | Job):
            session.expire(one)
