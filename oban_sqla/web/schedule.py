"""An expression of the crontab in words."""

from __future__ import annotations

_NAMED = {
    "@hourly": "at the start of each hour",
    "@daily": "each day at 00:00",
    "@midnight": "each day at 00:00",
    "@weekly": "on Sundays at 00:00",
    "@monthly": "on the first of each month at 00:00",
    "@yearly": "on 1 January at 00:00",
    "@annually": "on 1 January at 00:00",
    "@reboot": "when a leader starts",
}
_DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_SHORT = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip


def in_words(expression: str) -> str:
    """``"0 9 * * MON-FRI"`` as ``at 09:00, Monday to Friday``; fields that are hard to say stay as they are."""
    text = expression.strip()
    try:
        return _NAMED.get(text.lower()) or _said(text)
    except ValueError:  # another program wrote what is not an expression
        return text


def _said(text: str) -> str:
    fields = ["*" if field == "*/1" else field for field in text.split()]
    if len(fields) != 5:
        return text
    minute, hour, day, month, weekday = fields
    parts = [_time(minute, hour)]
    days: list[str] = []
    if day != "*":
        days.append(f"on day {_numbers(day)} of the month" if _is_list(day) else f"on days {day}")
    if weekday != "*":
        days.append(_days(weekday))
    if days:
        parts.append(" or ".join(days))  # a day that matches one of both is due, see `Cron`
    if month != "*":
        parts.append("in " + _listed([_month(part) for part in month.split(",")]))
    return ", ".join(parts)


def _time(minute: str, hour: str) -> str:
    if minute == hour == "*":
        return "each minute"
    if hour == "*":
        if _is_even(minute, 60):
            return f"every {minute[2:]} minutes"
        return f"at minute {_numbers(minute)} of each hour"
    if minute.isdigit() and _is_list(hour):
        return "at " + _listed([f"{int(part):02}:{int(minute):02}" for part in hour.split(",")])
    if _is_even(hour, 24) and minute.isdigit():
        return f"every {hour[2:]} hours at minute {int(minute)}"
    if _is_even(minute, 60) and "-" in hour and hour.replace("-", "").isdigit():
        first, last = hour.split("-")
        return f"every {minute[2:]} minutes from {int(first):02}:00 to {int(last):02}:59"
    return f"at minute {minute} of hour {hour}"


def _is_even(field: str, whole: int) -> bool:
    """Whether ``*/n`` is a step that is as long where the hour, or the day, begins anew: ``*/40`` is 0, 40, 0, 40."""
    step = field.removeprefix("*/")
    return step != field and step.isdigit() and int(step) > 0 and whole % int(step) == 0


def _days(field: str) -> str:
    if "-" in field and "," not in field and "/" not in field:
        first, last = field.split("-", 1)
        return f"{_day(first)} to {_day(last)}"
    return "on " + _listed([_day(part) for part in field.split(",")])


def _day(text: str) -> str:
    if text.upper()[:3] in _SHORT:
        return _DAYS[_SHORT.index(text.upper()[:3])]
    return _DAYS[int(text)] if text.isdigit() and int(text) < len(_DAYS) else text


def _month(text: str) -> str:
    if text.isdigit() and 1 <= int(text) <= 12:
        return _MONTHS[int(text) - 1]
    return next((name for name in _MONTHS if name.upper().startswith(text.upper()) and len(text) >= 3), text)


def _is_list(text: str) -> bool:
    return all(part.isdigit() for part in text.split(","))


def _numbers(text: str) -> str:
    return _listed(text.split(","))


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + f" and {names[-1]}"
