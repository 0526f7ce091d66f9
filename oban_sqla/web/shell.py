"""The frame of every page: the menu with its numbers, the leader, and the version of the tables."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from ..insight.glance import Count, counts
from ..insight.roster import nodes
from ..insight.roster import read as read_roster
from ..statements.version import tables_version
from .ask import Ask

SECONDS = 5.0
"""How long requests share the frame."""


@dataclass(frozen=True, slots=True)
class Shell:
    """What the frame of a page shows.

    :ivar counts: how many jobs are in each state.
    :ivar nodes: how many nodes are alive.
    :ivar leader: the name of the leader; None when no node leads.
    :ivar schema: the version of the tables.
    """

    counts: dict[str, Count]
    nodes: int
    leader: str | None
    schema: int

    @property
    def jobs(self) -> Count:
        """How many jobs there are."""
        return sum(self.counts.values(), Count(0))

    @property
    def failed(self) -> Count:
        """How many jobs were discarded."""
        return self.counts.get("discarded", Count(0))


async def shell(ask: Ask) -> Shell | None:
    """What the frame of a page shows; None while the database does not answer."""
    place = ask.place

    def read(connection: Connection) -> Shell:
        roster = read_roster(connection, place.heartbeat)
        leaders = [lease.node for lease in roster.leaders if lease.instance == place.name]
        alive = nodes(member for member in roster.alive if member.instance == place.name)
        schema = tables_version.execute(connection).scalar_one_or_none() or 0
        return Shell(counts(connection), len(alive), leaders[0] if leaders else None, int(schema))

    try:
        return await ask.read("shell", read, SECONDS)
    except (DBAPIError, OSError):
        return None
