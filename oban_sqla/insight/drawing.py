"""The layout of a workflow on a page: the places of its nodes, and of the lines between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

WIDTH, HEIGHT, GAP_X, GAP_Y = 160, 34, 50, 14
TALL = 700
"""The height of a screen. The columns of a higher graph are not centred, but begin at the top."""
BEND = 2
"""The height of the place for a line in a column that it passes."""

MOST_BENDS = 200
"""Most places for lines. In a graph that needs more, lines go straight, behind the boxes."""

_KINDS = {"completed": "done", "discarded": "dead", "cancelled": "dead", "failed": "dead"}

Cell = tuple[int, int]
"""The id of a node, and a column: the place of the node in its own column, and of its lines in a later column."""


@dataclass(frozen=True, slots=True)
class Box:
    """A node of a graph, and its place.

    :ivar id: of its job; negative for a workflow inside this one.
    :ivar name: of the node.
    :ivar worker: the name of its worker; None for a workflow.
    :ivar state: of the job or workflow.
    :ivar attempt: how often the job has started; None for a workflow.
    :ivar max_attempts: how often the job may start; None for a workflow.
    :ivar due_at: when it may start.
    :ivar attempted_at: when it started last.
    :ivar ended_at: when it ended.
    :ivar after: the names of the nodes that it waits for.
    :ivar waits_for: how many of them have not ended.
    :ivar x: its left side.
    :ivar y: its top.
    """

    id: int
    name: str
    worker: str | None
    state: str
    attempt: int | None
    max_attempts: int | None
    due_at: datetime | None
    attempted_at: datetime | None
    ended_at: datetime | None
    after: tuple[str, ...]
    waits_for: int
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Edge:
    """A line of a graph.

    :ivar path: as SVG.
    :ivar kind: ``"done"``, ``"dead"`` or blank, by the state of the node from which the line comes.
    """

    path: str
    kind: str


@dataclass(frozen=True, slots=True)
class Graph:
    """A workflow, laid out from left to right.

    :ivar boxes: the nodes.
    :ivar edges: the lines from each node to those that wait for it.
    :ivar width: of the whole graph.
    :ivar height: of the whole graph.
    :ivar cut: whether the workflow has more nodes than are drawn.
    """

    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]
    width: int
    height: int
    cut: bool


def laid_out(rows: Mapping[int, Any], before: Mapping[int, Sequence[int]], *, cut: bool = False) -> Graph:
    """Give each node its place, to the right of all nodes that it waits for.

    :param rows: the nodes by id, each with the values for its :class:`Box`.
    :param before: for each node, the ids of the nodes that it waits for.
    :param cut: whether the workflow has more nodes than these.
    """
    ranks = _ranks(before)
    cells: dict[Cell, list[Cell]] = {(id, ranks[id]): [] for id in rows}
    bends = _bends(before, ranks)
    for id, rank in bends:
        cells[id, rank] = [(id, rank - 1)]
    for id in rows:
        at = ranks[id] - 1
        cells[id, ranks[id]] = [(one, at) if (one, at) in bends else (one, ranks[one]) for one in before[id]]
    places, height = _places(cells, ranks)
    boxes: list[Box] = []
    edges: list[Edge] = []
    for id, row in rows.items():
        named = tuple(rows[one].name or str(abs(one)) for one in before[id])
        open_ones = sum(rows[one].state not in _KINDS for one in before[id])
        x, y = places[id, ranks[id]]
        boxes.append(
            Box(id, row.name or str(abs(id)), row.worker, row.state, row.attempt, row.max_attempts, row.due_at,
                row.attempted_at, row.ended_at, named, open_ones, x, y)
        )  # fmt: skip
        for one in before[id]:
            passed = range(ranks[one] + 1, ranks[id]) if bends else ()
            way = [places[one, rank] for rank in passed]
            path = _path(places[one, ranks[one]], way, (x, y))
            edges.append(Edge(path, _KINDS.get(rows[one].state, "")))
    width = (max(ranks.values(), default=0) + 1) * (WIDTH + GAP_X) - GAP_X + 16
    return Graph(tuple(boxes), tuple(edges), width, max(height, HEIGHT + 2 * GAP_Y), cut)


def _ranks(before: Mapping[int, Sequence[int]]) -> dict[int, int]:
    """The column of each node: the length of the longest way to it."""
    ranks: dict[int, int] = {}
    left = dict(before)
    while left:
        ready = [id for id, ids in left.items() if all(one in ranks for one in ids)]
        for id in ready or list(left):  # they wait for each other, as only another program can write it
            ranks[id] = max((ranks[one] + 1 for one in left[id] if one in ranks), default=0)
        for id in ready or list(left):
            left.pop(id, None)
    return ranks


def _bends(before: Mapping[int, Sequence[int]], ranks: Mapping[int, int]) -> set[Cell]:
    """The places of lines in the columns that they pass. All lines of a node share one place in each column."""
    found: set[Cell] = set()
    for id, ids in before.items():
        for one in ids:
            found.update((one, rank) for rank in range(ranks[one] + 1, ranks[id]))
            if len(found) > MOST_BENDS:
                return set()
    return found


def _places(cells: Mapping[Cell, Sequence[Cell]], ranks: Mapping[int, int]) -> tuple[dict[Cell, tuple[int, int]], int]:
    """The left side and the top of each cell, and the height of the graph."""
    columns: dict[int, list[Cell]] = {}
    for cell in cells:
        columns.setdefault(cell[1], []).append(cell)
    tall = {cell: HEIGHT if ranks[cell[0]] == cell[1] else BEND for cell in cells}
    heights = {rank: sum(tall[cell] + GAP_Y for cell in column) - GAP_Y for rank, column in columns.items()}
    height = max(heights.values(), default=0) + 2 * GAP_Y
    places: dict[Cell, tuple[int, int]] = {}
    for rank in sorted(columns):
        y = GAP_Y if height > TALL else (height - heights[rank]) // 2
        for cell in sorted(columns[rank], key=lambda cell: _middle(places, tall, cells[cell])):
            places[cell] = (8 + rank * (WIDTH + GAP_X), y)
            y += tall[cell] + GAP_Y
    return places, height


def _middle(places: Mapping[Cell, tuple[int, int]], tall: Mapping[Cell, int], cells: Iterable[Cell]) -> float:
    found = [places[cell][1] + tall[cell] / 2 for cell in cells if cell in places]
    return sum(found) / len(found) if found else 0.0


def _path(start: tuple[int, int], way: Iterable[tuple[int, int]], end: tuple[int, int]) -> str:
    x, y = start[0] + WIDTH, start[1] + HEIGHT // 2
    path = [f"M{x} {y}"]
    for bend_x, bend_y in way:
        path.append(f"{_curve(x, y, bend_x, bend_y + BEND // 2)} h{WIDTH}")
        x, y = bend_x + WIDTH, bend_y + BEND // 2
    path.append(_curve(x, y, end[0], end[1] + HEIGHT // 2))
    return " ".join(path)


def _curve(x: int, y: int, to_x: int, to_y: int) -> str:
    half = (x + to_x) // 2
    return f"C{half} {y} {half} {to_y} {to_x} {to_y}"
