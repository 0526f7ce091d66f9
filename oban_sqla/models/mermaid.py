"""A workflow as a Mermaid flowchart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .node import Node

if TYPE_CHECKING:
    from .workflow import Workflow

_ENTITIES = str.maketrans({"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "`": "#96;"})
"""What Mermaid would take for an entity, the end of the label, HTML, or Markdown."""
_ARROWS = {"c": "-->", "i": "-.->", "w": "==>"}


def mermaid(flow: Workflow) -> str:
    """The nodes of `flow` and of the workflows inside it, and what waits for what."""
    lines = ["flowchart TD"]
    ids: dict[Node[Any], str] = {}
    _nodes(flow, lines, ids, "  ")
    _edges(flow, lines, ids)
    return "\n".join(lines) + "\n"


def _nodes(flow: Workflow, lines: list[str], ids: dict[Node[Any], str], indent: str) -> None:
    for node in flow.nodes.values():
        name = ids[node] = f"n{len(ids)}"
        label = " ".join(node.name.split()).translate(_ENTITIES)
        if node.sub is not None:
            lines.append(f'{indent}subgraph {name}["{label}"]')
            _nodes(node.sub, lines, ids, indent + "  ")
            lines.append(f"{indent}end")
        elif node.is_fan_out:
            lines.append(f'{indent}{name}[["{label}"]]')
        else:
            lines.append(f'{indent}{name}["{label}"]')


def _edges(flow: Workflow, lines: list[str], ids: dict[Node[Any], str]) -> None:
    for node in flow.nodes.values():
        lines.extend(f"  {ids[before]} {_ARROWS[node.on_fail]} {ids[node]}" for before in node.after)
        if node.sub is not None:
            _edges(node.sub, lines, ids)
