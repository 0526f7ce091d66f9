"""The neighbours of a job: the jobs of the same workflow, batch, or entry of the crontab."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from ..statements.neighbours import groups_of, members

MOST = 200
"""Most jobs of a workflow or batch."""
RUNS = 20
"""Most jobs of an entry of the crontab."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A neighbour of a job.

    :ivar name: of its node in a workflow; None when it is in no workflow.
    """

    id: int
    worker: str
    state: str
    name: str | None


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The groups to which a job belongs, and the jobs of one of them.

    :ivar workflow: the id of its workflow; None when it is in no workflow.
    :ivar batch: the id of its batch; None when it is in no batch.
    :ivar cron: the name of its entry of the crontab; None when it has none.
    :ivar jobs: the newest jobs of the first group that it has, in this order. The job itself is one of them.
    """

    workflow: int | None = None
    batch: int | None = None
    cron: str | None = None
    jobs: tuple[Neighbour, ...] = ()

    @property
    def done(self) -> int:
        """How many of the jobs have finished."""
        return sum(one.state in ("completed", "cancelled", "discarded") for one in self.jobs)


def neighbours(connection: Connection, id: int) -> Neighbours:
    """The neighbours of the job `id`."""
    row = groups_of.execute(connection, id=id).one_or_none()
    if row is None:
        return Neighbours()
    groups: list[tuple[str, Any, int]] = [
        ("workflow_id", row.workflow_id, MOST),
        ("batch_id", row.batch_id, MOST),
        ("cron_name", row.cron_name, RUNS),
    ]
    for column, group, limit in groups:
        if group is not None:
            found = connection.execute(members(column, group, limit))
            jobs = tuple(Neighbour(one.id, one.worker, one.state, one.node_name) for one in found)
            return Neighbours(row.workflow_id, row.batch_id, row.cron_name, jobs)
    return Neighbours()
