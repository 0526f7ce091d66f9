"""What a chart draws is what it says."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from oban_sqla.insight.series import Series
from oban_sqla.web.charts import HEIGHT, WIDTH, bars, lines, spark
from oban_sqla.web.pages.queues import sparks


@pytest.mark.parametrize(
    ("most", "levels"),
    [
        (2, ("3", "2", "1", "0")),
        (4, ("6", "4", "2", "0")),
        (7, ("9", "6", "3", "0")),
        (40, ("45", "30", "15", "0")),
        (2_000, ("2,400", "1,600", "800", "0")),
    ],
)
def test_the_numbers_beside_a_chart_are_those_of_its_lines(most: int, levels: tuple[str, ...]) -> None:
    chart = bars([datetime(2026, 1, 1, tzinfo=UTC)], [("available", [float(most)])])
    assert chart.levels == levels
    assert chart.bars[0].height == pytest.approx(HEIGHT * most / int(levels[0].replace(",", "")), abs=0.1)


def test_a_line_has_a_gap_where_nothing_was_measured() -> None:
    times = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute) for minute in range(5)]
    chart = lines(times, [("p50", [0.1, 0.1, None, 0.1, 0.1])])
    [(_, path)] = chart.lines
    assert [mark for mark in path if mark in "ML"] == ["M", "L", "M", "L"]


@pytest.mark.parametrize("numbers", [[0.1], [0.1, None], [None, 0.1], [None, 0.1, None, 0.1, 0.1]])
def test_a_value_with_none_beside_it_is_seen(numbers: list[float | None]) -> None:
    times = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute) for minute in range(len(numbers))]
    [(_, path)] = lines(times, [("p50", numbers)]).lines
    marks = [(mark[0], *map(float, mark[1:].split())) for mark in re.findall(r"[ML][^ML]+", path)]
    assert [mark[0] for mark in marks] == ["M", "L"] * (len(marks) // 2), "each line has an end"
    assert all(0 <= begin[1] < end[1] <= WIDTH for begin, end in zip(marks[::2], marks[1::2], strict=True))


def test_a_small_line_of_one_value_is_seen() -> None:
    assert re.search(r'<path d="M0\.0 2\.0 L96\.0 2\.0"/>', spark([3.0], "runs"))


def test_parts_of_a_bar_lie_on_each_other() -> None:
    chart = bars([datetime(2026, 1, 1, tzinfo=UTC)], [("completed", [2.0]), ("discarded", [1.0])])
    low, high = chart.bars
    assert low.y + low.height == HEIGHT
    assert high.y + high.height == low.y


def test_a_small_line_ends_with_a_whole_part() -> None:
    steady = Series((), {"mail": [1] * 58}, {}, ())
    assert {*sparks(steady, "mail")} == {4.0}, "half a part would look like a fall"
