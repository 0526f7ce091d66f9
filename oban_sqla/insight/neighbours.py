"""The jobs beside a job: of the same workflow, batch, or entry of the crontab."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from ..statements.neighbours import groups_of, members

MOST = 200
"""Jobs of a workflow or batch that are looked at."""
RUNS = 20


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A job beside another one.

    :ivar name: of its node in a workflow; None outside of one.
    """

    id: int
    worker: str
    state: str
    name: str | None


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What a job belongs to, and the other jobs of that.

    :ivar workflow: the id of its workflow; None outside of one.
    :ivar batch: the id of its batch; None outside of one.
    :ivar cron: the name of its entry of the crontab; None without.
    :ivar jobs: the newest jobs of the first of these, this one among them.
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
    """The jobs beside the job `id`."""
    row = groups_of.execute(connection, id=id).one_or_none()
    if row is None:
        return Neighbours()
    groups: list[tuple[str, Any, int]] = [
        ("workflow_id", row.workflow_id, MOST),
        ("batch_id", row.batch_id, MOST),
        ("cron_name", row.cron_name, RUNS),
    ]
    for name, of, limit in groups:
        if of is not None:
            found = connection.execute(members(name, of, limit))
            jobs = tuple(Neighbour(one.id, one.worker, one.state, one.node_name) for one in found)
            return Neighbours(row.workflow_id, row.batch_id, row.cron_name, jobs)
    return Neighbours()
