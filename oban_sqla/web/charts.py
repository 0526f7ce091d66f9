"""Charts as SVG. The browser stretches them, so the words beside them are HTML. Templates add a table to each."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from markupsafe import Markup

WIDTH, HEIGHT = 600.0, 150.0
MARKS = 7
"""Times that are written below a chart."""
ALONE = 4.0
"""How far a line goes to both sides of a value without neighbours: a single point would be invisible."""
STEPS = (0.001, 0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3_600.0, 21_600.0, 86_400.0, 864_000.0, 8_640_000.0)
"""Lengths of time in seconds, each four to ten times the one before. :data:`NAMES` has their names."""
NAMES = ("1 ms", "10 ms", "0.1 s", "1 s", "10 s", "1 min", "10 min", "1 h", "6 h", "1 day", "10 days", "100 days")


@dataclass(frozen=True, slots=True)
class Bar:
    """A part of a bar.

    :ivar kind: its CSS class: a state.
    """

    kind: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart over time.

    :ivar bars: the bars; none in a chart of lines.
    :ivar lines: the CSS class and the path of each line; none in a chart of bars.
    :ivar levels: the words beside the chart, the highest first.
    :ivar times: the words below the chart.
    :ivar grid: the height of the line of each level.
    """

    bars: tuple[Bar, ...]
    lines: tuple[tuple[str, str], ...]
    levels: tuple[str, ...]
    times: tuple[str, ...]
    grid: tuple[float, ...]


def bars(times: Sequence[datetime], series: Sequence[tuple[str, Sequence[float | None]]]) -> Chart:
    """A chart of bars, one for each time, that consist of parts.

    :param series: the CSS class of each part, from the lowest up, with its numbers; None where there is no number.
    """
    totals = [sum(numbers[at] or 0.0 for _, numbers in series) for at in range(len(times))]
    top = _round_up(max(totals, default=0.0))
    step = WIDTH / max(len(times), 1)
    made: list[Bar] = []
    for at in range(len(times)):
        y = HEIGHT
        for kind, numbers in series:
            height = (numbers[at] or 0.0) / top * HEIGHT
            y -= height
            if height > 0:
                made.append(Bar(kind, round(at * step + 1, 1), round(y, 1), round(step - 2, 1), round(height, 1)))
    return Chart(tuple(made), (), _levels(top), _marks(times), tuple(_grid(4)))


def lines(times: Sequence[datetime], series: Sequence[tuple[str, Sequence[float | None]]]) -> Chart:
    """A chart of lines that show lengths of time, on a scale with the levels :data:`STEPS`, logarithmic between them.

    :param series: the CSS class of each line, with its values in seconds; None where there is no value.
    """
    values = [value for _, numbers in series for value in numbers if value]
    low = min(math.floor(_step(min(values, default=0.01))), len(STEPS) - 2)
    high = max(math.ceil(_step(max(values, default=1.0))), low + 1)
    step = WIDTH / max(len(times) - 1, 1)
    made: list[tuple[str, str]] = []
    for kind, numbers in series:
        points: list[str] = []
        for at, (before, value, after) in enumerate(zip([0, *numbers], numbers, [*numbers[1:], 0], strict=False)):
            if not value:
                continue
            x, y = at * step, HEIGHT - (_step(value) - low) / (high - low) * HEIGHT
            if before:
                points.append(f"L{x:.1f} {y:.1f}")
            elif after:
                points.append(f"M{x:.1f} {y:.1f}")
            else:  # a single point would be invisible
                points.append(f"M{max(x - ALONE, 0):.1f} {y:.1f} L{min(x + ALONE, WIDTH):.1f} {y:.1f}")
        made.append((kind, " ".join(points)))
    levels = NAMES[low : high + 1][::-1]
    return Chart((), tuple(made), levels, _marks(times), tuple(_grid(len(levels))))


def spark(numbers: Sequence[float], label: str, kind: str = "", wide: bool = False) -> Markup:
    """A small line of numbers.

    :param label: what the line shows, for screen readers.
    :param kind: its CSS class. Default: none.
    :param wide: whether it is as wide as a panel. Default: as small as a row of a table.
    """
    if not numbers:
        return Markup("")
    numbers = numbers if len(numbers) > 1 else [*numbers, *numbers]  # a single point would be invisible
    width, height = (280.0, 44.0) if wide else (96.0, 22.0)
    top = max([*numbers, 1.0])
    step = width / max(len(numbers) - 1, 1)
    points = [f"{at * step:.1f} {height - 2 - one / top * (height - 4):.1f}" for at, one in enumerate(numbers)]
    line = "M" + " L".join(points)
    return Markup(
        '<svg class="spark {} {}" viewBox="0 0 {:g} {:g}" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<path class="area" d="{} L{:g} {:g} L0 {:g}Z"/><path d="{}"/></svg>'
    ).format(kind, "wide" if wide else "", width, height, label, line, width, height, height, line)


def _levels(top: float) -> tuple[str, ...]:
    return tuple(f"{top * part / 3:,.0f}" for part in (3, 2, 1, 0))


def _grid(count: int) -> list[float]:
    step = HEIGHT / max(count - 1, 1)
    return [min(max(at * step, 0.5), HEIGHT - 0.5) for at in range(count)]


def _marks(times: Sequence[datetime]) -> tuple[str, ...]:
    """Times with equal distances, because the page spreads the words evenly below the chart."""
    last = len(times) - 1
    places = dict.fromkeys(round(part * last / (MARKS - 1)) for part in range(MARKS)) if last >= 0 else ()
    return tuple(f"{times[place]:%H:%M}" for place in places)


def _round_up(value: float) -> float:
    """The next number that can be divided into three levels, each a round, whole number."""
    if value <= 3:
        return 3.0
    size = 10.0 ** math.floor(math.log10(value / 3))
    levels = (part * size for part in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10))
    return 3 * next(level for level in levels if level * 3 >= value and level.is_integer())


def _step(seconds: float) -> float:
    """The place of a length of time among :data:`STEPS`: 1.5 is in the middle between the second and the third."""
    at = min(max(bisect_right(STEPS, seconds) - 1, 0), len(STEPS) - 2)
    within = math.log(max(seconds, STEPS[0]) / STEPS[at]) / math.log(STEPS[at + 1] / STEPS[at])
    return at + min(within, 1.0)
