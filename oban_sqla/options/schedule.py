"""When a cron expression is due: five fields and a time zone, as instants.

An expression speaks of wall clocks, and twice a year a wall clock jumps. Which instants are meant then depends on what
the expression says about hours:

* **Every hour** (the hour field is ``*`` or ``*/n``): due at each real instant whose local time matches. Hourly stays
  hourly when clocks go back, and nothing is made up for an hour that clocks leave out.
* **Hours of the day** (anything else): each local time that is named is due once a day. One that clocks leave out is
  due at the instant they go forward; one that comes twice is due the first time.

This is the rule of Debian's cron, which asks the minute field too. The calendar is croniter's, which is given only
plain lists of numbers and local times without a zone, so that its versions can't differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any, cast
from zoneinfo import ZoneInfo, available_timezones

from ..errors import InvalidOption, closest, nearest
from .whole import whole_from

NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
REBOOT = "@reboot"
"""Not a time: due when a leader starts. See :class:`Cron`."""

_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_MONTHS = ("", "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_INSTANT = timedelta(microseconds=1)
_LOOK_BACK = tuple(timedelta(hours=hours) for hours in (1, 24, 24 * 31, 24 * 366, 24 * 366 * 9))


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    least: int
    most: int
    names: tuple[str, ...] = ()


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of the week", 0, 7, _WEEKDAYS),
)
_PART = re.compile(r"(?:\*|(?P<low>\w+)(?:-(?P<high>\w+))?)(?:/(?P<step>[0-9]{1,9}))?")


class Schedule:
    """The instants of an expression in a time zone; :func:`schedule` makes it.

    :ivar reboot: whether it is ``@reboot``, which has no instants.
    """

    def __init__(self, expression: str, zone: tzinfo) -> None:
        self.reboot = expression == REBOOT
        self._zone = zone
        # The last answer: it is the same until that instant. A tuple, so that threads see both or neither.
        self._known = (datetime.max.replace(tzinfo=UTC),) * 2
        self._numbers, self._every_hour = ("", False) if self.reboot else _parsed(expression)

    def next(self, after: datetime) -> datetime | None:
        """The first instant later than `after`; None when there is none within fifty years."""
        if self.reboot:
            return None
        since, tick = self._known
        if since <= after < tick:
            return tick
        found = self._next_real(after) if self._every_hour else self._next_named(after)
        if found is not None:
            self._known = (after, found)
        return found

    def between(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """The instants later than `after` and not later than `until`, ascending."""
        tick = self.next(after)
        while tick is not None and tick <= until:
            yield tick
            tick = self.next(tick)

    def last(self, after: datetime, until: datetime) -> datetime | None:
        """The last of the instants later than `after` and not later than `until`; None when there is none."""
        for span in _LOOK_BACK:
            found = [*self.between(max(after, until - span), until)]
            if found or until - span <= after:
                return found[-1] if found else None
        return None

    def _next_real(self, after: datetime) -> datetime | None:
        offset = self._offset(after)
        start = _local(after, offset)
        while (local := self._next_local(start)) is not None:
            tick = (local - offset).replace(tzinfo=UTC)
            if self._offset(tick) == offset:
                return tick
            # Clocks change before it. Nothing matched under the old offset; the change itself may, under the new one.
            after = self._change(after, tick)
            offset = self._offset(after)
            start = _local(after, offset) - _INSTANT
        return None

    def _next_named(self, after: datetime) -> datetime | None:
        start = _local(after, self._offset(after))
        while (local := self._next_local(start)) is not None:
            tick = self._instant(local)
            if tick > after:
                return tick
            start = local
        return None

    def _next_local(self, local: datetime) -> datetime | None:
        # Not at the top, because most programs have no crontab. The package has no types.
        from croniter import CroniterBadDateError, croniter  # type: ignore[import-untyped]  # pyright: ignore

        try:
            return cast(datetime, cast(Any, croniter)(self._numbers, local).get_next(datetime))
        except CroniterBadDateError:
            return None

    def _instant(self, local: datetime) -> datetime:
        """When wall clocks show `local` for the first time, or leave it out."""
        there = local.replace(tzinfo=self._zone)
        instant = there.astimezone(UTC)
        if _local(instant, self._offset(instant)) == local:
            return instant
        return self._change(there.replace(fold=1).astimezone(UTC), instant)

    def _offset(self, instant: datetime) -> timedelta:
        return instant.astimezone(self._zone).utcoffset() or timedelta()

    def _change(self, before: datetime, after: datetime) -> datetime:
        """The instant between these at which the offset of the first ends; `after` is a whole second."""
        offset = self._offset(before)
        while after - before > timedelta(seconds=1):
            middle = (before + (after - before) / 2).replace(microsecond=0)
            if self._offset(middle) == offset:
                before = middle
            else:
                after = middle
        return after


def schedule(expression: str, timezone: str = "UTC") -> Schedule:
    """The schedule of `expression` in `timezone`.

    :raises InvalidOption: for an expression that can't be read or never comes true, or a zone that isn't known.
    """
    for what, given in (("cron expression", expression), ("time zone", timezone)):
        if not isinstance(given, str):
            raise InvalidOption(f"{what}: expected a string, got {given!r}")
    return _schedule(expression.strip(), timezone)


@lru_cache(maxsize=1024)
def _schedule(expression: str, timezone: str) -> Schedule:
    made = Schedule(expression, _zone(timezone))
    if not made.reboot and made.next(datetime(2000, 1, 1, tzinfo=UTC)) is None:
        raise InvalidOption(f"cron expression {expression!r}: no such day exists, so it would never be due")
    return made


def _local(instant: datetime, offset: timedelta) -> datetime:
    return instant.astimezone(UTC).replace(tzinfo=None) + offset


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC  # without a time zone database too
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        pass
    known = available_timezones()
    if not known:
        raise InvalidOption(f"time zone {name!r}: this machine has no time zone database; pip install tzdata")
    # An abbreviation is like those of other places: CEST is not near EST.
    near = closest(name, (one for one in known if "/" in one)) if len(name) > 4 else None
    hint = f"did you mean {near!r}?" if near else "expected a name such as 'UTC' or 'Europe/Paris'"
    raise InvalidOption(f"time zone {name!r} is not known: {hint}")


Numbers = tuple[int, ...] | None
"""Those of a field, ascending; None for ``*``."""


def numbers_of(expression: str) -> tuple[Numbers, Numbers, Numbers, Numbers, Numbers]:
    """The minutes, hours, days of the month, months and days of the week (0 is Sunday) of an expression.

    :raises InvalidOption: for one that can't be read.
    """
    fields = _parsed(expression)[0].split()
    made = [None if field == "*" else tuple(int(number) for number in field.split(",")) for field in fields]
    minute, hour, day, month, weekday = made
    return minute, hour, day, month, weekday


def _parsed(expression: str) -> tuple[str, bool]:
    """The expression in plain numbers, and whether it is about every hour."""
    if expression.startswith("@"):
        if expression not in NICKNAMES:
            known = [*NICKNAMES, REBOOT]
            raise InvalidOption(f"cron expression {expression!r}: no such nickname: {nearest(expression, known)}")
        expression = NICKNAMES[expression]
    fields = expression.split()
    if len(fields) != len(_FIELDS):
        raise InvalidOption(
            f"cron expression {expression!r}: expected five fields (minute, hour, day of the month, month, day of the "
            f"week), such as '0 9 * * MON-FRI', or a nickname; got {len(fields)}"
        )
    numbers = [_numbers(text, field, expression) for text, field in zip(fields, _FIELDS, strict=True)]
    return " ".join(numbers), fields[1] == "*" or fields[1].startswith("*/")


def _numbers(text: str, field: _Field, expression: str) -> str:
    if text == "*":
        return text
    found: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise _bad(expression, field, part, "expected *, a number, a range a-b, a step */n, or a list of these")
        low, high, step = match["low"], match["high"], match["step"]
        if step is not None and int(step) < 1:
            raise _bad(expression, field, part, "a step must be 1 or more")
        first = field.least if low is None else _number(low, field, expression)
        # "5/15" is 5-59/15; Sunday, which has two numbers, is met as 0.
        end = 6 if field.names is _WEEKDAYS else field.most
        last = end if low is None or (high is None and step is not None) else first
        if high is not None:
            last = _number(high, field, expression)
            if last == 0 and first > 0 and field.names is _WEEKDAYS:
                last = 7  # FRI-SUN
        if first > last:
            raise _bad(expression, field, part, "the range runs backwards; write it as two, such as 22-23,0-2")
        found.update(range(first, last + 1, int(step or 1)))
    if field.names is _WEEKDAYS:
        found = {number % 7 for number in found}
    return ",".join(str(number) for number in sorted(found))


def _number(text: str, field: _Field, expression: str) -> int:
    if text.upper() in field.names:
        return field.names.index(text.upper())
    if (number := whole_from(text)) is None:
        names = f" or one of {', '.join(name for name in field.names if name)}" if field.names else ""
        raise _bad(expression, field, text, f"expected a number{names}")
    if not field.least <= number <= field.most:
        raise _bad(expression, field, text, f"expected {field.least} to {field.most}")
    return number


def _bad(expression: str, field: _Field, given: str, expected: str) -> InvalidOption:
    return InvalidOption(f"cron expression {expression!r}: {given!r} for the {field.name}: {expected}")
