"""Until when :func:`drain` runs jobs."""

from __future__ import annotations

from datetime import UTC, datetime

from ..errors import InvalidOption
from ..types import naive_utc
from .clock import as_timedelta, aware, current_clock

FAR = datetime(9999, 1, 1)


def real_time() -> datetime:
    """Now, in naive UTC."""
    return datetime.now(UTC).replace(tzinfo=None)


def end_of(until: object, with_scheduled: object) -> datetime:
    """The moment to which `until` moves the time of the jobs, in naive UTC.

    :raises InvalidOption: for what is not a time, or together with `with_scheduled`.
    """
    if with_scheduled is not False:
        raise InvalidOption(
            "drain: got both until and with_scheduled; until runs what is scheduled when its time comes"
        )
    if isinstance(until, datetime):
        return naive_utc(aware(until, "drain(until)"))
    try:
        by = as_timedelta(until, "drain(until)")
    except InvalidOption:
        raise InvalidOption(
            f"drain: until must be an aware datetime, or a timedelta or seconds (0 or more), got {until!r}"
        ) from None
    time = current_clock()
    return naive_utc((datetime.now(UTC) if time is None else time.now) + by)


def due_by(with_scheduled: object) -> datetime | None:
    """The moment up to which jobs that are due run, in naive UTC; None for now.

    :raises InvalidOption: for a time without a zone, and for what is neither a time nor True or False.
    """
    if isinstance(with_scheduled, datetime):
        if with_scheduled.tzinfo is None:
            raise InvalidOption(
                f"drain: with_scheduled={with_scheduled.isoformat()} has no time zone; give an aware datetime"
            )
        return naive_utc(with_scheduled)
    if not isinstance(with_scheduled, bool):
        raise InvalidOption(f"drain: with_scheduled must be True, False or an aware datetime, got {with_scheduled!r}")
    return FAR if with_scheduled else None
