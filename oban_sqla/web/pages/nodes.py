"""The nodes and the leader, as the database shows them."""

from __future__ import annotations

from sqlalchemy import Connection

from ...insight.queues import Member
from ...insight.roster import Roster
from ...insight.roster import nodes as names_of
from ...insight.roster import read as read_roster
from ..ask import Ask, Content


async def nodes(ask: Ask, _rest: str) -> Content:
    """The nodes, each with its queues."""
    place = ask.place

    def read(connection: Connection) -> Roster:
        return read_roster(connection, place.heartbeat)

    panel = await ask.panel("nodes", read)
    roster = panel.found
    rows: list[tuple[str, list[Member], list[str]]] = []
    if roster is not None:
        for name in sorted(names_of(roster.members)):
            members = [member for member in roster.members if member.node == name]
            rows.append((name, members, [lease.instance for lease in roster.leaders if lease.node == name]))
    return Content("nodes.html", "Nodes", {"panel": panel, "rows": rows, "roster": roster}, "nodes")
