"""When expressions are due: fields, names, nicknames, and both changes of clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st

from oban_sqla import InvalidOption
from oban_sqla.options.schedule import NICKNAMES, schedule


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def ticks(expression: str, timezone: str, after: str, until: str) -> list[str]:
    """The instants in UTC, as ``MM-DD HH:MM``."""
    return [f"{tick:%m-%d %H:%M}" for tick in schedule(expression, timezone).between(at(after), at(until))]


PARIS, NEW_YORK, LORD_HOWE = "Europe/Paris", "America/New_York", "Australia/Lord_Howe"

DAILY = [
    # Clocks go forward: 02:30 is left out in Paris and New York, and due as the gap ends, once.
    (PARIS, "2026-03-27 12:00", "2026-03-30 12:00", ["03-28 01:30", "03-29 01:00", "03-30 00:30"]),
    (NEW_YORK, "2026-03-06 12:00", "2026-03-09 12:00", ["03-07 07:30", "03-08 07:00", "03-09 06:30"]),
    # On Lord Howe they go from 02:00 to 02:30: there is a 02:30.
    (LORD_HOWE, "2026-10-02 00:00", "2026-10-05 00:00", ["10-02 16:00", "10-03 15:30", "10-04 15:30"]),
    # Clocks go back: 02:30 comes twice in Paris only, and is due the first time.
    (PARIS, "2026-10-23 12:00", "2026-10-26 12:00", ["10-24 00:30", "10-25 00:30", "10-26 01:30"]),
    (NEW_YORK, "2026-10-30 12:00", "2026-11-02 12:00", ["10-31 06:30", "11-01 07:30", "11-02 07:30"]),
    (LORD_HOWE, "2026-04-03 00:00", "2026-04-06 00:00", ["04-03 15:30", "04-04 16:00", "04-05 16:00"]),
]


@pytest.mark.parametrize(("zone", "after", "until", "expected"), DAILY)
def test_daily_at_half_past_two_is_due_once_a_day(zone: str, after: str, until: str, expected: list[str]) -> None:
    assert ticks("30 2 * * *", zone, after, until) == expected


HOURLY = [
    (PARIS, "2026-03-28 23:30", "2026-03-29 02:30", ["03-29 00:00", "03-29 01:00", "03-29 02:00"]),
    (PARIS, "2026-10-24 22:30", "2026-10-25 02:30", ["10-24 23:00", "10-25 00:00", "10-25 01:00", "10-25 02:00"]),
    (NEW_YORK, "2026-03-08 05:30", "2026-03-08 08:30", ["03-08 06:00", "03-08 07:00", "03-08 08:00"]),
    (NEW_YORK, "2026-11-01 04:30", "2026-11-01 07:30", ["11-01 05:00", "11-01 06:00", "11-01 07:00"]),
    # Half an hour is left out, with the full hour in it, or comes twice, without one: ninety minutes each time.
    (LORD_HOWE, "2026-10-03 14:00", "2026-10-03 17:30", ["10-03 14:30", "10-03 16:00", "10-03 17:00"]),
    (LORD_HOWE, "2026-04-04 13:30", "2026-04-04 16:45", ["04-04 14:00", "04-04 15:30", "04-04 16:30"]),
]


@pytest.mark.parametrize(("zone", "after", "until", "expected"), HOURLY)
def test_hourly_is_due_at_every_real_full_hour(zone: str, after: str, until: str, expected: list[str]) -> None:
    assert ticks("0 * * * *", zone, after, until) == expected
    assert ticks("@hourly", zone, after, until) == expected


@pytest.mark.parametrize(
    ("zone", "after"),
    [
        (PARIS, "2026-03-28 23:00"),
        (PARIS, "2026-10-24 22:00"),
        (NEW_YORK, "2026-03-08 04:00"),
        (NEW_YORK, "2026-11-01 03:00"),
        (LORD_HOWE, "2026-10-03 13:00"),
        (LORD_HOWE, "2026-04-04 12:00"),
    ],
)
def test_every_quarter_of_an_hour_is_due_without_a_gap(zone: str, after: str) -> None:
    expected = [at(after) + timedelta(minutes=15 * n) for n in range(1, 25)]
    assert (
        list(islice(schedule("*/15 * * * *", zone).between(at(after), at(after) + timedelta(hours=6)), 99)) == expected
    )


def test_two_times_in_one_gap_are_one() -> None:
    assert ticks("0,30 2 * * *", PARIS, "2026-03-28 12:00", "2026-03-29 12:00") == ["03-29 01:00"]


def test_named_hours_that_come_twice_are_due_the_first_time_each() -> None:
    assert ticks("*/30 2-3 * * *", PARIS, "2026-10-24 12:00", "2026-10-25 12:00") == [
        "10-25 00:00", "10-25 00:30", "10-25 02:00", "10-25 02:30",
    ]  # fmt: skip


def test_a_day_that_a_zone_left_out_does_not_lose_its_tick() -> None:
    # Samoa went from the 29th to the 31st of December 2011.
    assert ticks("0 12 * * *", "Pacific/Apia", "2011-12-29 00:00", "2012-01-01 00:00") == [
        "12-29 22:00", "12-30 10:00", "12-30 22:00", "12-31 22:00",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("expression", "same"),
    [
        ("0 9 * * MON-FRI", "0 9 * * 1,2,3,4,5"),
        ("0 9 * * mon-fri", "0 9 * * 1-5"),
        ("0 9 * * FRI-SUN", "0 9 * * 0,5,6"),
        ("0 9 * * 7", "0 9 * * SUN"),
        ("0 9 * JAN,JUL *", "0 9 * 1,7 *"),
        ("5/15 * * * *", "5,20,35,50 * * * *"),
        ("10-30/10 * * * *", "10,20,30 * * * *"),
        ("*/40 * * * *", "0,40 * * * *"),
        *NICKNAMES.items(),
        ("  0   9 * *  * ", "0 9 * * *"),
    ],
)
def test_two_ways_to_say_the_same(expression: str, same: str) -> None:
    span = (at("2026-01-01 00:00"), at("2027-02-01 00:00"))
    first = list(islice(schedule(expression).between(*span), 500))
    assert first
    assert first == list(islice(schedule(same).between(*span), 500))


def test_a_day_matches_by_its_number_or_its_weekday_as_in_crontab() -> None:
    assert ticks("0 0 13 * FRI", "UTC", "2026-02-01 00:00", "2026-02-21 00:00") == [
        "02-06 00:00", "02-13 00:00", "02-20 00:00",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("expression", "timezone", "says"),
    [
        ("* * * *", "UTC", "five fields"),
        ("* * * * * *", "UTC", "got 6"),
        ("60 * * * *", "UTC", "'60' for the minute: expected 0 to 59"),
        ("* 24 * * *", "UTC", "hour"),
        ("* * 0 * *", "UTC", "day of the month"),
        ("* * L * *", "UTC", "expected a number"),
        ("* * * 13 *", "UTC", "1 to 12"),
        ("* * * * MONDAY", "UTC", "SUN, MON"),
        ("* * * * 5#3", "UTC", "'5#3'"),
        ("*/0 * * * *", "UTC", "1 or more"),
        ("0 22-2 * * *", "UTC", "runs backwards"),
        ("1,,2 * * * *", "UTC", "minute"),
        ("٣ * * * *", "UTC", "expected a number"),
        pytest.param("9" * 5_000 + " * * * *", "UTC", "expected a number", id="more digits than Python reads"),
        pytest.param("*/" + "9" * 5_000 + " * * * *", "UTC", "a step", id="a step of more digits"),
        ("0 0 30 2 *", "UTC", "never be due"),
        ("@dayly", "UTC", "did you mean '@daily'"),
        ("@sometimes else", "UTC", "no such nickname"),
        ("", "UTC", "five fields"),
        (5, "UTC", "expected a string"),
        ("* * * * *", "Europe/Pariss", "did you mean 'Europe/Paris'"),
        ("* * * * *", "Europe", "time zone 'Europe'"),
        ("* * * * *", "CEST", "is not known: expected a name such as 'UTC' or 'Europe/Paris'"),
        ("* * * * *", "../../etc/passwd", "is not known"),
        ("* * * * *", "", "is not known"),
        ("* * * * *", None, "expected a string"),
    ],
)
def test_what_can_not_be_read_is_refused_and_says_why(expression: Any, timezone: Any, says: str) -> None:
    with pytest.raises(InvalidOption, match=says.replace("(", r"\(")):
        schedule(expression, timezone)


def test_the_last_tick_is_found_however_long_ago() -> None:
    long_ago, now = at("1990-01-01 00:00"), at("2026-06-15 12:34")
    assert schedule("* * * * *").last(long_ago, now) == now
    assert schedule("0 0 29 2 *").last(long_ago, now) == at("2024-02-29 00:00")
    assert schedule("0 0 1 1 *").last(at("2026-01-01 00:00"), now) is None
    assert schedule("@reboot").last(long_ago, now) is None


fields = st.tuples(
    st.sampled_from(["0", "30", "*/15", "*", "7,52"]),
    st.sampled_from(["*", "*/3", "2", "1-3", "0,12", "23"]),
    st.sampled_from(["*", "1", "29", "*/2"]),
    st.sampled_from(["*", "3,10,11", "4"]),
    st.sampled_from(["*", "SUN", "MON-FRI"]),
)


@given(fields, st.sampled_from([PARIS, NEW_YORK, LORD_HOWE, "UTC", "Asia/Kathmandu"]), st.integers(0, 700 * 1440))
@settings(max_examples=80, deadline=None)
def test_every_tick_is_later_than_the_one_before_and_shows_a_time_that_matches(
    fields: tuple[str, ...], zone: str, minutes: int
) -> None:
    expression = " ".join(fields)
    start = at("2026-01-01 00:00") + timedelta(minutes=minutes)
    before = start
    for tick in islice(schedule(expression, zone).between(start, start + timedelta(days=3)), 100):
        assert tick > before
        assert list(schedule(expression, zone).between(before, tick)) == [tick], "asked again, the same answer"
        local = tick.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        offset = (tick - timedelta(seconds=1)).astimezone(ZoneInfo(zone)).utcoffset()
        assert croniter.match(expression, local) or offset != tick.astimezone(ZoneInfo(zone)).utcoffset()
        before = tick
