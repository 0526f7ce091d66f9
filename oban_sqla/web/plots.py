"""The charts of the pages, each with words and a table: jobs that ended, their run times, and jobs that waited."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.exc import DBAPIError

from ..insight import series
from ..insight.series import Depths, Series
from . import charts
from .ask import Ask
from .words import number, span

SECONDS = 10.0
"""How long requests share what a chart shows."""
PERIODS = ("hour", "day")


@dataclass(frozen=True, slots=True)
class Plot:
    """A chart on a page.

    :ivar id: of its heading.
    :ivar heading: what it is called.
    :ivar about: what it shows, for screen readers.
    :ivar chart: what is drawn.
    :ivar keys: the CSS class of each part or line, with its name.
    :ivar columns: of its table.
    :ivar rows: of its table, the newest one first.
    """

    id: str
    heading: str
    about: str
    chart: charts.Chart
    keys: tuple[tuple[str, str], ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Plots:
    """The charts of a page.

    :ivar all: the charts in their order; none when nothing was recorded.
    :ivar period: one of :data:`PERIODS`.
    :ivar nodes: how many nodes have recorded which jobs ended.
    """

    all: tuple[Plot, ...]
    period: str
    nodes: int


def period_of(ask: Ask) -> str:
    """The period that the URL asks for."""
    asked = ask.one("period")
    return asked if asked in PERIODS else "hour"


async def ended(ask: Ask, queue: str | None = None, period: str = "hour") -> Series | None:
    """The jobs that ended in a period, in one queue or in all; None when that can't be read."""
    try:
        return await ask.read(
            ("series", period, queue), lambda connection: series.read(connection, period, queue), SECONDS
        )
    except DBAPIError:
        return None


async def deep(ask: Ask, queue: str | None, period: str) -> Depths | None:
    """The jobs that waited in a period, in one queue or in all; None when nothing was recorded or it can't be read."""
    try:
        return await ask.read(
            ("depths", period, queue), lambda connection: series.read_depths(connection, period, queue), SECONDS
        )
    except DBAPIError:
        return None


async def plots(ask: Ask, queue: str | None = None) -> Plots:
    """The charts of the period that the URL asks for, of one queue or of all."""
    period = period_of(ask)
    done, depths = await ended(ask, queue, period), await deep(ask, queue, period)
    made: list[Plot] = []
    if done is not None and done.nodes:
        made += [_ended(done, period), _ran(done, period)]
    if depths is not None:
        made += [_waiting(depths, period), _oldest(depths, period)]
    return Plots(tuple(made), period, 0 if done is None else len(done.nodes))


def _ended(done: Series, period: str) -> Plot:
    parts = [(name, done.of(name)) for name in ("completed", "retryable", "discarded")]
    keys = (("past", "completed"), ("retryable", "failed, again later"), ("discarded", "discarded"))
    outcomes = ("completed", "retryable", "discarded", "cancelled")
    rows = [(f"{step.at:%H:%M}", *(number(step.ended[name]) for name in outcomes)) for step in reversed(done.steps)]
    return Plot(
        "ended",
        "Ended, a minute" if period == "hour" else "Ended, in 10 minutes",
        f"Jobs that ended over the last {period}",
        charts.bars(done.times, parts),
        keys,
        ("completed", "failed", "discarded", "cancelled"),
        tuple(rows),
    )


def _ran(done: Series, period: str) -> Plot:
    lines = [(f"p{round(part * 100)}", done.quantiles(part)) for part in (0.5, 0.95, 0.99)]
    rows = [
        (f"{step.at:%H:%M}", *(span(step.run.quantile(part)) for part in (0.5, 0.95, 0.99)))
        for step in reversed(done.steps)
    ]
    return Plot(
        "ran",
        "Run time",
        f"How long jobs ran over the last {period}, on a logarithmic scale",
        charts.lines(done.times, lines),
        (("p50", "median"), ("p95", "p95"), ("p99", "p99")),
        ("median", "p95", "p99"),
        tuple(rows),
    )


def _waiting(depths: Depths, period: str) -> Plot:
    names = ("available", "retryable", "scheduled", "executing")
    waiting = [None if step is None else float(step.available) for step in depths.steps]
    rows = [
        (f"{at:%H:%M}", *("–" if step is None else number(getattr(step, name)) for name in names))
        for at, step in zip(reversed(depths.times), reversed(depths.steps), strict=True)
    ]
    return Plot(
        "waiting",
        "Waiting",
        f"Available jobs over the last {period}",
        charts.bars(depths.times, [("available", waiting)]),
        (("available", "available"),),
        names,
        tuple(rows),
    )


def _oldest(depths: Depths, period: str) -> Plot:
    oldest = [None if step is None else step.oldest for step in depths.steps]
    rows = [(f"{at:%H:%M}", span(age)) for at, age in zip(reversed(depths.times), reversed(oldest), strict=True)]
    return Plot(
        "oldest",
        "Longest wait",
        f"For how long the first available job had waited, over the last {period}, on a logarithmic scale",
        charts.lines(depths.times, [("p50", oldest)]),
        (("p50", "first available job"),),
        ("first available job",),
        tuple(rows),
    )
