"""Lengths of time, as the command line says them."""

from __future__ import annotations

import pytest

from oban_sqla.insight.words import span


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-300.0, "0s"),
        (0.000_03, "0s"),
        (0.000_2, "0.0002s"),
        (0.25, "0.25s"),
        (9.96, "10s"),
        (59.6, "1m"),
        (3_605.0, "1h"),
        (97_200.0, "1d 3h"),
    ],
)
def test_a_length_of_time_has_two_units_at_most_and_no_exponent(seconds: float, said: str) -> None:
    assert span(seconds) == said
