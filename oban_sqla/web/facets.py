"""The filters of the list of jobs: queues, nodes, and suggestions for what to type."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from ..insight import glance
from ..insight.roster import nodes
from ..insight.roster import read as read_roster
from ..insight.suggestions import part, suggestions
from ..statements.glance import running_by_node
from ..workers.registry import workers
from .ask import Ask

SECONDS = 5.0
"""How long requests share the queues and nodes."""
SUGGESTED_FOR = 60.0
"""How long requests share the suggestions, in seconds."""


@dataclass(frozen=True, slots=True)
class Facets:
    """The filters of the list of jobs.

    :ivar queues: the name of each queue, with the number of jobs that wait in it.
    :ivar nodes: the name of each node, with the number of jobs that run on it.
    :ivar suggested: suggestions for what to type.
    """

    queues: tuple[tuple[str, glance.Count], ...]
    nodes: tuple[tuple[str, int], ...]
    suggested: tuple[str, ...]


async def facets(ask: Ask) -> Facets:
    """The filters of the list of jobs; empty when the database does not answer in time."""
    place = ask.place

    def read(connection: Connection) -> Facets:
        waiting = glance.waiting(connection)
        roster = read_roster(connection, place.heartbeat)
        busy: dict[str, int] = dict.fromkeys(sorted(nodes(roster.alive)), 0)
        for row in running_by_node.execute(connection, most=glance.FAR):
            busy[row.node or "?"] = busy.get(row.node or "?", 0) + row.jobs
        names = sorted({*waiting, *(member.queue for member in roster.alive)})
        return Facets(
            tuple((name, waiting.get(name, glance.Count(0))) for name in names), tuple(sorted(busy.items())), ()
        )

    try:
        found = await ask.read("facets", read, SECONDS)
        typed = await ask.read("suggestions", suggestions, SUGGESTED_FOR)
    except DBAPIError:
        return Facets((), (), ())
    known = [part("worker", name) for name in workers]
    named = [part("queue", name) for name, _ in found.queues]
    return Facets(found.queues, found.nodes, tuple(dict.fromkeys([*named, *known, *typed])))
