"""Lengths of time, as the command line and the dashboard say them."""

from __future__ import annotations

import pytest

from oban_sqla.insight.words import span


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-300.0, "0 ms"),
        (0.000_03, "0 ms"),
        (0.000_2, "0 ms"),
        (0.25, "0.2 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (90.0, "1 min 30 s"),
        (2_290.0, "38 min"),
        (3_605.0, "1 h"),
        (86_398.0, "24 h"),
        (86_340.0, "23 h 59 min"),
        (97_200.0, "27 h"),
        (200_000.0, "2 days"),
    ],
)
def test_a_length_of_time_has_two_units_at_most_and_no_exponent(seconds: float, said: str) -> None:
    assert span(seconds) == said
