"""Workflows: which there are, and one as a graph and as a list."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from ...insight.graphs import Graph, graph
from ...insight.graphs import flows as newest
from ...statements.graphs import COUNTED, one_flow
from ..ask import Ask, Content, NotFound, whole

PAGE = 50
STATES = ("executing", "completed", "failed", "cancelled")


async def flows(ask: Ask, _rest: str) -> Content:
    """The newest workflows."""
    state = ask.one("state") if ask.one("state") in STATES else None
    before = ask.whole("after")
    panel = await ask.panel(("flows", state, before), lambda connection: newest(connection, PAGE + 1, before, state))
    found = panel.found or []
    rows = [(row, sum(row.counts.values()), _done(row.counts)) for row in found[:PAGE]]
    context = {
        "panel": panel,
        "rows": rows,
        "state": state,
        "states": STATES,
        "counted": COUNTED,
        "more": found[PAGE - 1].id if len(found) > PAGE else None,
    }
    return Content("flows.html", "Workflows", context, "flows")


async def flow(ask: Ask, rest: str) -> Content:
    """A workflow: its nodes, and what they wait for."""
    if (id := whole(rest)) is None:
        raise NotFound(f"{rest!r} is not the id of a workflow.")

    def read(connection: Connection) -> tuple[Any, Graph] | None:
        row = connection.execute(one_flow(id)).one_or_none()
        return None if row is None else (row, graph(connection, id))

    found = await ask.read(("flow", id), read)
    if found is None:
        raise NotFound(f"There is no workflow {id}: it was deleted, pruned, or never committed.")
    row, drawn = found
    states: dict[str, int] = {}
    for box in drawn.boxes:
        states[box.state] = states.get(box.state, 0) + 1
    context = {"flow": row, "graph": drawn, "states": states, "done": _done(states)}
    trail = [("flows", "Workflows")]
    if row.parent_id is not None:
        trail.append((f"flow/{row.parent_id}", str(row.parent_id)))
    return Content("flow.html", row.name, context, "flows", trail=tuple(trail))


def _done(counts: dict[str, int]) -> int:
    return sum(counts.get(state, 0) for state in ("completed", "cancelled", "discarded", "failed"))
