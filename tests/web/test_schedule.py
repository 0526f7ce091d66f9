"""Expressions of the crontab in words."""

from __future__ import annotations

import pytest

from oban_sqla.web.schedule import in_words


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("* * * * *", "each minute"),
        ("*/1 */1 * * *", "each minute"),
        ("*/15 * * * *", "every 15 minutes"),
        ("0 */6 * * *", "every 6 hours at minute 0"),
        ("*/30 9-17 * * 1-5", "every 30 minutes from 09:00 to 17:59, Monday to Friday"),
        ("5 9,17 * * *", "at 09:05 and 17:05"),
        ("0 0 1 JAN *", "at 00:00, on day 1 of the month, in January"),
    ],
)
def test_an_expression_is_said_in_words(expression: str, words: str) -> None:
    assert in_words(expression) == words


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("*/40 * * * *", "at minute */40 of each hour"),
        ("0 */7 * * *", "at minute 0 of hour */7"),
        ("*/25 9-17 * * *", "at minute */25 of hour 9-17"),
    ],
)
def test_a_step_that_does_not_fill_the_hour_or_the_day_is_not_called_a_distance(expression: str, words: str) -> None:
    assert in_words(expression) == words


@pytest.mark.parametrize("text", ["*/5 1-2-3 * * *", "*/5 -5 * * *", "² 3 * * *", "9" * 5_000 + " 3 * * *"])
def test_what_is_not_an_expression_is_shown_as_it_is(text: str) -> None:
    assert in_words(text) == text


def test_a_day_is_due_by_its_number_or_its_weekday() -> None:
    assert in_words("0 0 13 * FRI") == "at 00:00, on day 13 of the month or on Friday"
