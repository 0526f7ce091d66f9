"""Workflows: the list of them, and one of them as a graph and as a list."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from ...insight.drawing import Box, Graph
from ...insight.graphs import flows as newest
from ...insight.graphs import graph
from ...statements.graphs import COUNTED, one_flow
from ..ask import Ask, Content, NotFound, whole
from ..words import span

PAGE = 50
STATES = ("executing", "completed", "failed", "cancelled")
_WAITING = ("available", "scheduled", "suspended")
_ORDER = ("completed", "executing", "retryable", "discarded", "failed", "cancelled", *_WAITING)
"""The states of nodes in the order in which a bar shows them."""


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
    """One workflow: its nodes, and what they wait for."""
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
    context = {
        "flow": row,
        "graph": drawn,
        "states": states,
        "done": _done(states),
        "running": states.get("executing", 0),
        "again": states.get("retryable", 0),
        "waiting": sum(states.get(state, 0) for state in _WAITING),
        "dead": [(name, states[name]) for name in ("discarded", "failed", "cancelled") if name in states],
        "took": ((row.finished_at or datetime.now(UTC)) - row.inserted_at).total_seconds(),
        "parts": [(name, states[name]) for name in _ORDER if name in states],
        "rail": _WAITING,
        "said": said,
    }
    trail = [("flows", "Workflows")]
    if row.parent_id is not None:
        trail.append((f"flow/{row.parent_id}", str(row.parent_id)))
    return Content("flow.html", row.name, context, "flows", trail=tuple(trail))


def said(box: Box) -> str:
    """What a node is doing or has done, in a few words."""
    now = datetime.now(UTC)
    if box.id < 0:
        return f"{box.state}, workflow"
    if box.state == "completed" and box.attempted_at is not None and box.ended_at is not None:
        return span((box.ended_at - box.attempted_at).total_seconds())
    if box.state == "executing" and box.attempted_at is not None:
        return f"{span((now - box.attempted_at).total_seconds())} so far"
    if box.state in ("retryable", "scheduled") and box.due_at is not None and box.due_at > now:
        return f"{'again ' if box.state == 'retryable' else ''}in {span((box.due_at - now).total_seconds())}"
    if box.state == "suspended" and box.waits_for:
        return f"waits for {box.waits_for}"
    return box.state


def _done(counts: dict[str, int]) -> int:
    return sum(counts.get(state, 0) for state in ("completed", "cancelled", "discarded", "failed"))
