"""An expression of the crontab in words."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import InvalidOption
from ..options.schedule import REBOOT, Numbers, numbers_of
from .words import listed

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
MANY_TIMES = 6
"""Most times of a day that are listed; more are written as hours and minutes."""
MANY = 12
"""Most numbers with equal distances that are all listed; of more, the middle ones are left out."""


def in_words(expression: str) -> str:
    """``"0 9 * * MON-FRI"`` as ``at 09:00, Monday to Friday``; text that is not an expression stays as it is."""
    text = expression.strip()
    if text == REBOOT:
        return "when a leader starts"
    try:
        minutes, hours, days, months, weekdays = numbers_of(text)
    except InvalidOption:  # another program wrote it
        return text
    parts = [_time(minutes, hours), *_day(days, weekdays)]
    if months is not None and len(months) < len(_MONTHS):
        parts.append(f"in {_runs([_MONTHS[month - 1] for month in months], _MONTHS)}")
    return ", ".join(parts)


def _time(minutes: Numbers, hours: Numbers) -> str:
    at, of = list(minutes or range(60)), list(hours or range(24))
    if len(at) == 1 and 2 < len(of) < 24 and _is_even(of, 24):
        return f"every {of[1]} hours at minute {at[0]}"
    if len(at) * len(of) <= MANY_TIMES:
        return f"at {listed(f'{hour:02}:{minute:02}' for hour in of for minute in at)}"
    if len(at) == 60:
        return f"each minute{_hours(of, 0, 59)}"
    if len(at) > 1 and _is_even(at, 60):
        return f"every {at[1]} minutes{_hours(of, 0, 59)}"
    if len(at) == 1 and len(of) < 24:
        return f"each hour{_hours(of, at[0], at[0])}" if _is_run(of) else f"at {_numbers(of, f':{at[0]:02}')}"
    each = "" if len(of) < 24 and not _is_run(of) else " of each hour"
    return f"at {'minute' if len(at) == 1 else 'minutes'} {_numbers(at)}{each}{_hours(of, at[0], at[-1])}"


def _hours(of: Sequence[int], first: int, last: int) -> str:
    """The hours of a day, to be written after the minutes."""
    if len(of) == 24:
        return ""
    return f" from {of[0]:02}:{first:02} to {of[-1]:02}:{last:02}" if _is_run(of) else f" of the hours {_numbers(of)}"


def _day(days: Numbers, weekdays: Numbers) -> list[str]:
    """The days. If both fields are given, a day that matches one of them is enough, see `Cron`."""
    if (days is not None and len(days) == 31) or (weekdays is not None and len(weekdays) == 7):
        return []
    said: list[str] = []
    if days is not None:
        said.append(f"on {'day' if len(days) == 1 else 'days'} {_numbers(days)} of the month")
    if weekdays is not None:
        names = [_DAYS[number] for number in sorted((number - 1) % 7 for number in weekdays)]
        runs = _runs(names, _DAYS)
        said.append(runs if " to " in runs and " and " not in runs and not said else f"on {runs}")
    return [" or ".join(said)] if said else []


def _is_run(numbers: Sequence[int]) -> bool:
    return numbers[-1] - numbers[0] == len(numbers) - 1


def _is_even(numbers: Sequence[int], whole: int) -> bool:
    """Whether all distances are equal, also from the last number to the first one of the next hour or day.

    They are not for ``*/40``, which means the minutes 0, 40, 0, 40.
    """
    return list(numbers) == list(range(0, whole, numbers[1])) and whole % numbers[1] == 0


def _numbers(numbers: Sequence[int], minute: str = "") -> str:
    """Numbers in words: ``5``, ``1 and 15``, ``10 to 20``, ``1, 3, 5, … 59``."""
    words = [f"{number:02}{minute}" if minute else str(number) for number in numbers]
    if len(numbers) > 2 and _is_run(numbers):
        return f"{words[0]} to {words[-1]}"
    if len(numbers) > MANY and list(numbers) == list(range(numbers[0], numbers[-1] + 1, numbers[1] - numbers[0])):
        return f"{', '.join(words[:3])}, … {words[-1]}"
    return listed(words)


def _runs(names: Sequence[str], every: Sequence[str]) -> str:
    """Names in words; three or more that follow each other are written as ``Monday to Friday``."""
    said: list[str] = []
    at = 0
    while at < len(names):
        first = every.index(names[at])
        end = at
        while end + 1 < len(names) and every.index(names[end + 1]) == first + end + 1 - at:
            end += 1
        said += [f"{names[at]} to {names[end]}"] if end - at >= 2 else names[at : end + 1]
        at = end + 1
    return listed(said)
