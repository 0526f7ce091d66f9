"""Workflows as people look at them: which there are, and one of them as a graph with its places."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from ..statements.graphs import edges_into, jobs_in, newest_flows, nodes_of, parts_of

MOST = 200
"""Nodes that are drawn."""
WIDTH, HEIGHT, GAP_X, GAP_Y = 160, 34, 50, 14


@dataclass(frozen=True, slots=True)
class Box:
    """A node of a graph, and its place.

    :ivar id: of its job; negative for a workflow inside this one.
    :ivar name: of the node.
    :ivar worker: the name of its worker; None for a workflow.
    :ivar state: of the job or workflow.
    :ivar attempt: how often it has started; None for a workflow.
    :ivar after: the names of the nodes that it waits for.
    :ivar x: its left side.
    :ivar y: its top.
    """

    id: int
    name: str
    worker: str | None
    state: str
    attempt: int | None
    after: tuple[str, ...]
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Edge:
    """A line of a graph.

    :ivar path: of SVG.
    :ivar kind: ``"done"``, ``"dead"`` or blank: what became of the node that it comes from.
    """

    path: str
    kind: str


@dataclass(frozen=True, slots=True)
class Graph:
    """A workflow, laid out from left to right.

    :ivar boxes: its nodes.
    :ivar edges: what waits for what.
    :ivar width: of all of it.
    :ivar height: of all of it.
    :ivar cut: whether it has more nodes than are drawn.
    """

    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]
    width: int
    height: int
    cut: bool


def flows(connection: Connection, limit: int, before: int | None, state: str | None) -> list[Any]:
    """The newest workflows that are not a part of another, with the numbers of their jobs by state.

    :param before: only those with a lower id. Default: from the newest on.
    :param state: only those in this state. Default: in any.
    """
    return list(connection.execute(newest_flows(limit, before, state)))


def graph(connection: Connection, flow_id: int) -> Graph:
    """The nodes of a workflow, and their places."""
    jobs = connection.execute(nodes_of(flow_id, MOST + 1)).all()
    parts = connection.execute(parts_of(flow_id, MOST + 1)).all()
    found = {int(row.id): row for row in jobs} | {-int(row.id): row for row in parts}
    rows = dict(list(found.items())[:MOST])
    # A part waits for what its jobs wait for outside of it.
    places = {id: id for id in rows if id > 0}
    if shown := [-id for id in rows if id < 0]:
        places |= {row.id: -row.workflow_id for row in connection.execute(jobs_in(shown, MOST * 10))}
    before: dict[int, list[int]] = {id: [] for id in rows}
    for edge in connection.execute(edges_into(list(places), list(rows))) if places else ():
        place = places[edge.job_id]
        if edge.dep_id in rows and edge.dep_id != place and edge.dep_id not in before[place]:
            before[place].append(edge.dep_id)
    return laid_out(rows, before, cut=len(found) > MOST)


def laid_out(rows: Mapping[int, Any], before: Mapping[int, Sequence[int]], *, cut: bool = False) -> Graph:
    """Give each node its place: right of everything that it waits for.

    :param rows: the nodes by id, each with ``name``, ``worker``, ``state`` and ``attempt``.
    :param before: for each the ids of those that it waits for.
    :param cut: whether there are more.
    """
    ranks = _ranks(before)
    columns: dict[int, list[int]] = {}
    for id in rows:
        columns.setdefault(ranks[id], []).append(id)
    tallest = max(map(len, columns.values()), default=0)
    height = tallest * (HEIGHT + GAP_Y) + GAP_Y
    places: dict[int, tuple[int, int]] = {}
    for rank in sorted(columns):
        ids = sorted(columns[rank], key=lambda id: _middle([places[one][1] for one in before[id] if one in places]))
        top = (height - len(ids) * (HEIGHT + GAP_Y) + GAP_Y) // 2
        for number, id in enumerate(ids):
            places[id] = (8 + rank * (WIDTH + GAP_X), top + number * (HEIGHT + GAP_Y))
    boxes = [
        Box(id, row.name or str(abs(id)), row.worker, row.state, row.attempt,
            tuple(rows[one].name or str(abs(one)) for one in before[id]), *places[id])
        for id, row in rows.items()
    ]  # fmt: skip
    edges = [_edge(places[one], places[id], rows[one].state) for id in rows for one in before[id]]
    width = (max(columns, default=0) + 1) * (WIDTH + GAP_X) - GAP_X + 16
    return Graph(tuple(boxes), tuple(edges), width, max(height, HEIGHT + 2 * GAP_Y), cut)


def _ranks(before: Mapping[int, Sequence[int]]) -> dict[int, int]:
    """For each node the length of the longest way to it."""
    ranks: dict[int, int] = {}
    left = dict(before)
    while left:
        ready = [id for id, ids in left.items() if all(one in ranks for one in ids)]
        for id in ready or list(left):  # a circle, which only another program writes
            ranks[id] = max((ranks[one] + 1 for one in left[id] if one in ranks), default=0)
        for id in ready or list(left):
            left.pop(id, None)
    return ranks


def _middle(numbers: Iterable[int]) -> float:
    given = list(numbers)
    return sum(given) / len(given) if given else 0.0


def _edge(start: tuple[int, int], end: tuple[int, int], state: str) -> Edge:
    x, y, to_x, to_y = start[0] + WIDTH, start[1] + HEIGHT // 2, end[0], end[1] + HEIGHT // 2
    half = (x + to_x) // 2
    kind = {"completed": "done", "discarded": "dead", "cancelled": "dead", "failed": "dead"}.get(state, "")
    return Edge(f"M{x} {y} C{half} {y} {half} {to_y} {to_x} {to_y}", kind)
