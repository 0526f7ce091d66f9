"""Charts as SVG: stretched to their place, so the words beside them are HTML. Each has its table in the template."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from markupsafe import Markup

WIDTH, HEIGHT = 600.0, 150.0
MARKS = 7
"""Words below a chart."""
ALONE = 4.0
"""How far a value with none beside it is drawn to both sides, so that it is seen."""
STEPS = (0.001, 0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3_600.0, 21_600.0, 86_400.0, 864_000.0, 8_640_000.0)
"""Lengths of time in seconds, each four to ten times the one before; and what people call them."""
NAMES = ("1 ms", "10 ms", "0.1 s", "1 s", "10 s", "1 min", "10 min", "1 h", "6 h", "1 day", "10 days", "100 days")


@dataclass(frozen=True, slots=True)
class Bar:
    """A part of a bar.

    :ivar kind: its class: a state.
    """

    kind: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart over time.

    :ivar bars: of a chart of bars.
    :ivar lines: of a chart of lines: classes and paths.
    :ivar levels: the words beside it, the highest first.
    :ivar times: the words below it.
    :ivar grid: where the lines of the levels are.
    """

    bars: tuple[Bar, ...]
    lines: tuple[tuple[str, str], ...]
    levels: tuple[str, ...]
    times: tuple[str, ...]
    grid: tuple[float, ...]


def bars(times: Sequence[datetime], series: Sequence[tuple[str, Sequence[float | None]]]) -> Chart:
    """Bars of stacked numbers, one for each time.

    :param series: the classes of the parts, from the lowest on, each with its numbers; None where there is none.
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
    """Lines of lengths of time in seconds, on a scale whose levels are :data:`STEPS`; logarithmic between these.

    :param series: the classes of the lines, each with its values; None where there is none.
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
            else:  # a line from one point to nowhere would not be seen
                points.append(f"M{max(x - ALONE, 0):.1f} {y:.1f} L{min(x + ALONE, WIDTH):.1f} {y:.1f}")
        made.append((kind, " ".join(points)))
    levels = NAMES[low : high + 1][::-1]
    return Chart((), tuple(made), levels, _marks(times), tuple(_grid(len(levels))))


def spark(numbers: Sequence[float], label: str, kind: str = "", wide: bool = False) -> Markup:
    """A small line of numbers.

    :param label: what it shows, for those who don't see it.
    """
    if not numbers:
        return Markup("")
    numbers = numbers if len(numbers) > 1 else [*numbers, *numbers]  # one alone would not be seen
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
    """Times that lie evenly from the first to the last one, because the words are spread evenly below the chart."""
    last = len(times) - 1
    places = dict.fromkeys(round(part * last / (MARKS - 1)) for part in range(MARKS)) if last >= 0 else ()
    return tuple(f"{times[place]:%H:%M}" for place in places)


def _round_up(value: float) -> float:
    """The next number of jobs that can be divided into three levels, each a round, whole number."""
    if value <= 3:
        return 3.0
    size = 10.0 ** math.floor(math.log10(value / 3))
    levels = (part * size for part in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10))
    return 3 * next(level for level in levels if level * 3 >= value and level.is_integer())


def _step(seconds: float) -> float:
    """Where a length of time is among :data:`STEPS`: 1.5 is in the middle between the second and the third."""
    at = min(max(bisect_right(STEPS, seconds) - 1, 0), len(STEPS) - 2)
    within = math.log(max(seconds, STEPS[0]) / STEPS[at]) / math.log(STEPS[at + 1] / STEPS[at])
    return at + min(within, 1.0)
