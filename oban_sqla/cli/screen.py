"""The screen of ``oban-sqla top``. Only that command imports this module, because it needs rich."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..insight.overview import Overview
from ..insight.progress import share
from ..insight.roster import nodes
from ..insight.words import listed, span
from .text import one_line

MOST_KEYS = 5
"""Partitions of a queue that are shown."""
STATES = {"available": "avail", "scheduled": "sched", "retryable": "retry", "executing": "exec"}
"""The states that are shown, and their short names for a line of 80 columns."""


@dataclass(frozen=True, slots=True)
class Look:
    """What the screen shows.

    :ivar overview: the queues and nodes.
    :ivar rates: how many jobs of each queue finished per second.
    :ivar running: the jobs that have been running longest.
    :ivar instance: the name of the instance.
    """

    overview: Overview
    rates: dict[str, float]
    running: Sequence[Any]
    instance: str


def drawn(look: Look, failure: str | None = None) -> RenderableType:
    """The whole screen.

    :param failure: why it could not be updated. Default: it is up to date.
    """
    parts: list[RenderableType] = [_head(look)]
    if failure is not None:
        parts.append(Text(f"out of date: {one_line(failure)}", style="bold red"))
    parts += ["", _queues(look)]
    if (limits := _limits(look)).row_count:
        parts += ["", limits]
    return Group(*parts, "", _running(look))


def _head(look: Look) -> Text:
    roster = look.overview.roster
    leaders = [one_line(lease.node) for lease in roster.leaders if lease.instance == look.instance]
    foreign = [one_line(f"{lease.node} ({lease.name})") for lease in roster.foreign_leaders]
    names = look.overview.nodes
    named = f" ({one_line(listed(names))})" if names else ""
    text = Text.assemble(
        (f"{datetime.now(UTC):%H:%M:%S} UTC", "dim"),
        f"  {look.instance}: ",
        (f"{len(names)} node{'' if len(names) == 1 else 's'}", "bold" if names else "bold red"),
        f"{named}; leader: ",
        (leaders[0], "bold green") if leaders else ("none", "bold red"),
        f"; {sum(look.rates.values()):.1f} jobs/s",
    )
    if foreign:
        text.append(f"; another program leads, too: {', '.join(foreign)}", "yellow")
    return text


def _queues(look: Look) -> Table:
    table = _table("queue", *STATES.values(), "jobs/s", "limit", "nodes", "state", "oldest")
    for queue in look.overview.queues:
        counts = (str(queue.jobs.get(state, 0)) for state in STATES)
        rate = f"{look.rates.get(queue.queue, 0.0):.1f}"
        oldest = "" if queue.oldest is None else span(queue.oldest)
        cells = (queue.queue, *counts, rate, str(queue.limit), str(len(nodes(queue.members))), queue.state, oldest)
        _add(table, cells, "yellow" if queue.paused != "no" else "" if queue.members else "dim")
    return table


def _limits(look: Look) -> Table:
    """The limits across the cluster, and under each queue its busiest partitions."""
    table = _table("queue", "limits of the cluster")
    for queue in look.overview.queues:
        if (usage := queue.usage) is None:
            continue
        _add(table, (queue.queue, usage.text), "yellow" if usage.is_suspended else "")
        for key in usage.keys[:MOST_KEYS]:
            left = "" if key.left is None else f", {key.left} more allowed"
            wait = f", more in {span(key.wait)}" if key.wait else ""
            _add(table, ("", f"{key.text}: {key.running} running, {key.waiting} available{left}{wait}"), "dim")
    return table


def _running(look: Look) -> Table:
    # The column is shown only when a job tells its progress, because a line has 80 columns.
    tells = any(job.progress is not None for job in look.running)
    table = _table("job", "queue", "worker", "node", "attempt", "age", *(["done"] if tells else []))
    for job in look.running:
        attempt = f"{job.attempt}/{job.max_attempts}"
        age = "" if job.age is None else span(job.age)
        done = [share(job.progress)] if tells else []
        _add(table, (str(job.id), job.queue, job.worker, job.node or "", attempt, age, *done))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        is_text = name in ("queue", "worker", "node", "state", "oldest", "attempt", "age", "limits of the cluster")
        justify: Literal["left", "right"] = "left" if is_text else "right"
        least = 10 if name in ("queue", "worker") else None
        table.add_column(name.upper(), justify=justify, no_wrap=True, overflow="ellipsis", min_width=least)
    return table


def _add(table: Table, cells: Iterable[str], style: str = "") -> None:
    # As Text, because rich reads brackets in a str as markup.
    table.add_row(*(Text(one_line(cell)) for cell in cells), style=style)
