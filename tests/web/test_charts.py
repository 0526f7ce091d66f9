"""What a chart draws is what it says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from oban_sqla.insight.series import Series
from oban_sqla.web.charts import HEIGHT, bars, lines
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


def test_parts_of_a_bar_lie_on_each_other() -> None:
    chart = bars([datetime(2026, 1, 1, tzinfo=UTC)], [("completed", [2.0]), ("discarded", [1.0])])
    low, high = chart.bars
    assert low.y + low.height == HEIGHT
    assert high.y + high.height == low.y


def test_a_small_line_ends_with_a_whole_part() -> None:
    steady = Series((), {"mail": [1] * 58}, {}, ())
    assert {*sparks(steady, "mail")} == {4.0}, "half a part would look like a fall"
