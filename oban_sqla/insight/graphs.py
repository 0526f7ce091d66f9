"""Workflows as a page shows them: the list of them, and one of them as a graph."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from ..statements.graphs import edges_into, jobs_in, newest_flows, nodes_of, parts_of
from .drawing import Graph, laid_out

MOST = 200
"""Most nodes that are drawn."""


def flows(connection: Connection, limit: int, before: int | None, state: str | None) -> list[Any]:
    """The newest workflows that are not inside another one, each with the number of its nodes per state.

    :param limit: most workflows.
    :param before: only those with a lower id; None for all.
    :param state: only those in this state; None for all.
    """
    return list(connection.execute(newest_flows(limit, before, state)))


def graph(connection: Connection, flow_id: int) -> Graph:
    """The graph of a workflow."""
    jobs = connection.execute(nodes_of(flow_id, MOST + 1)).all()
    parts = connection.execute(parts_of(flow_id, MOST + 1)).all()
    found = {int(row.id): row for row in jobs} | {-int(row.id): row for row in parts}
    rows = dict(list(found.items())[:MOST])
    # A part is a workflow inside this one. It waits for the nodes outside of it that its jobs wait for.
    places = {id: id for id in rows if id > 0}
    if shown := [-id for id in rows if id < 0]:
        places |= {row.id: -row.workflow_id for row in connection.execute(jobs_in(shown, MOST * 10))}
    before: dict[int, list[int]] = {id: [] for id in rows}
    for edge in connection.execute(edges_into(list(places), list(rows))) if places else ():
        place = places[edge.job_id]
        if edge.dep_id in rows and edge.dep_id != place and edge.dep_id not in before[place]:
            before[place].append(edge.dep_id)
    return laid_out(rows, before, cut=len(found) > MOST)
