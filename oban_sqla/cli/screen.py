"""What ``oban-sqla top`` draws. Imported only there: it needs rich."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..insight.overview import Overview
from ..insight.words import span

STATES = {"available": "avail", "scheduled": "sched", "retryable": "retry", "executing": "exec"}
"""Those that are counted, and how they are called where a line has 80 columns."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was found at one moment."""

    overview: Overview
    rates: dict[str, float]
    """Jobs of each queue that finished, a second."""
    running: Sequence[Any]
    """The oldest jobs that run."""
    instance: str


def picture(look: Look, failure: str | None = None) -> RenderableType:
    """The whole screen.

    :param failure: why this is not how things are now.
    """
    parts: list[RenderableType] = [_head(look)]
    if failure is not None:
        parts.append(Text(f"what follows is old: {failure}", style="bold red"))
    return Group(*parts, "", _queues(look), "", _running(look))


def _head(look: Look) -> Text:
    roster = look.overview.roster
    leaders = [lease.node for lease in roster.leaders if lease.name == f"oban_sqla:{look.instance}"]
    strangers = [f"{lease.node} ({lease.name})" for lease in roster.strangers]
    nodes = look.overview.nodes
    text = Text.assemble(
        (f"{datetime.now(UTC):%H:%M:%S} UTC", "dim"),
        f"  {look.instance}: ",
        (f"{len(nodes)} node{'' if len(nodes) == 1 else 's'}", "bold" if nodes else "bold red"),
        f"{' (' if nodes else ''}{', '.join(nodes)}{')' if nodes else ''}; leader: ",
        (leaders[0], "bold green") if leaders else ("none", "bold red"),
        f"; {sum(look.rates.values()):.1f} jobs/s",
    )
    if strangers:
        text.append(f"; another program leads, too: {', '.join(strangers)}", "yellow")
    return text


def _queues(look: Look) -> Table:
    table = _table("queue", *STATES.values(), "jobs/s", "limit", "nodes", "paused", "oldest")
    for queue in look.overview.queues:
        counts = (str(queue.jobs.get(state, 0)) for state in STATES)
        rate = f"{look.rates.get(queue.queue, 0.0):.1f}"
        oldest = "" if queue.oldest is None else span(max(queue.oldest, 0.0))
        cells = (queue.queue, *counts, rate, str(queue.limit), str(len(queue.nodes)), queue.paused, oldest)
        _add(table, cells, "yellow" if queue.paused != "no" else "" if queue.nodes else "dim")
    return table


def _running(look: Look) -> Table:
    table = _table("job", "queue", "worker", "node", "attempt", "age")
    for job in look.running:
        attempt = f"{job.attempt}/{job.max_attempts}"
        age = "" if job.age is None else span(max(job.age, 0.0))
        _add(table, (str(job.id), job.queue, job.worker, job.node or "", attempt, age))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        is_text = name in ("queue", "worker", "node", "paused", "oldest", "attempt", "age")
        justify: Literal["left", "right"] = "left" if is_text else "right"
        least = 10 if name in ("queue", "worker") else None
        table.add_column(name.upper(), justify=justify, no_wrap=True, overflow="ellipsis", min_width=least)
    return table


def _add(table: Table, cells: Iterable[str], style: str = "") -> None:
    # As Text, or brackets in a name would be read as markup.
    table.add_row(*(Text(cell) for cell in cells), style=style)
