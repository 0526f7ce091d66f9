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
        (
            "30 3 1,15 */2 *",
            "at 03:30, on days 1 and 15 of the month, in January, March, May, July, September and November",
        ),
        (
            "*/7 8-18 * * 1,3",
            "at minutes 0, 7, 14, 21, 28, 35, 42, 49 and 56 of each hour from 08:00 to 18:56, on Monday and Wednesday",
        ),
        ("1-59/2 * * * *", "at minutes 1, 3, 5, … 59 of each hour"),
        ("*/5 9,11,13,20 * * *", "every 5 minutes of the hours 9, 11, 13 and 20"),
        ("0 9-17 * * FRI-SUN", "each hour from 09:00 to 17:00, Friday to Sunday"),
        ("15,45 8,20 * 1-3,6 *", "at 08:15, 08:45, 20:15 and 20:45, in January to March and June"),
        ("0 8 * * 1-3,6", "at 08:00, on Monday to Wednesday and Saturday"),
        ("0 0 1-7,20 * *", "at 00:00, on days 1, 2, 3, 4, 5, 6, 7 and 20 of the month"),
        ("0 1,2,3,4,7,9,12,20 * * *", "at 01:00, 02:00, 03:00, 04:00, 07:00, 09:00, 12:00 and 20:00"),
        ("@weekly", "at 00:00, on Sunday"),
        ("@reboot", "when a leader starts"),
    ],
)
def test_an_expression_is_said_in_words(expression: str, words: str) -> None:
    assert in_words(expression) == words


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("*/40 * * * *", "at minutes 0 and 40 of each hour"),
        ("0 */7 * * *", "at 00:00, 07:00, 14:00 and 21:00"),
        ("*/25 9-17 * * *", "at minutes 0, 25 and 50 of each hour from 09:00 to 17:50"),
    ],
)
def test_a_step_that_does_not_fill_the_hour_or_the_day_is_not_called_a_distance(expression: str, words: str) -> None:
    assert in_words(expression) == words


@pytest.mark.parametrize("text", ["*/5 1-2-3 * * *", "*/5 -5 * * *", "² 3 * * *", "9" * 5_000 + " 3 * * *"])
def test_what_is_not_an_expression_is_shown_as_it_is(text: str) -> None:
    assert in_words(text) == text


def test_a_day_is_due_by_its_number_or_its_weekday() -> None:
    assert in_words("0 0 13 * FRI") == "at 00:00, on day 13 of the month or on Friday"
    assert in_words("0 0 */1 * MON") == "at 00:00", "each day matches the first of both"
