"""What a chart draws is what it says."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from oban_sqla.web.charts import HEIGHT, bars


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
