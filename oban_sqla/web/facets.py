"""What the list of jobs can be narrowed to: queues, nodes, and what is suggested while one types."""

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
SUGGESTED_FOR = 60.0


@dataclass(frozen=True, slots=True)
class Facets:
    """What the list can be narrowed to.

    :ivar queues: names, each with how many jobs wait.
    :ivar nodes: names, each with how many jobs run there.
    :ivar suggested: what may be typed.
    """

    queues: tuple[tuple[str, glance.Count], ...]
    nodes: tuple[tuple[str, int], ...]
    suggested: tuple[str, ...]


async def facets(ask: Ask) -> Facets:
    """What the list of jobs can be narrowed to."""
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
