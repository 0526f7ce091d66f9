"""The nodes and the leader, as the database shows them."""

from __future__ import annotations

from sqlalchemy import Connection

from ...insight.queues import Member
from ...insight.roster import Roster
from ...insight.roster import nodes as names_of
from ...insight.roster import read as read_roster
from ..ask import Ask, Content

PAGE = 50
"""Nodes on a page, by name."""


async def nodes(ask: Ask, _rest: str) -> Content:
    """The nodes, each with its queues."""
    place = ask.place

    def read(connection: Connection) -> Roster:
        return read_roster(connection, place.heartbeat)

    panel = await ask.panel("nodes", read)
    roster = panel.found
    rows: list[tuple[str, list[Member], list[str]]] = []
    after = ask.one("after")
    names: list[str] = []
    if roster is not None:
        names = sorted(name for name in names_of(roster.members) if after is None or name > after)
        for name in names[:PAGE]:
            members = [member for member in roster.members if member.node == name]
            rows.append((name, members, [lease.instance for lease in roster.leaders if lease.node == name]))
    context = {"panel": panel, "rows": rows, "roster": roster, "more": names[PAGE - 1] if len(names) > PAGE else None}
    return Content("nodes.html", "Nodes", context, "nodes")
