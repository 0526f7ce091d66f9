"""The time of a test, as far as jobs are concerned."""

from __future__ import annotations

from contextvars import ContextVar
from datetime import UTC, datetime, timedelta

from ..errors import InvalidOption
from ..options.duration import seconds


class clock:  # noqa: N801 (used as a function: `with clock() as time`)
    """Move the time of the jobs that a block drains: ``with clock() as time: …``.

    ::

        with clock() as time:
            await drain(session)                    # the job sleeps for three days
            time.move(timedelta(days=3))
            assert await drain(session) == {"completed": 1}

    In the block :func:`drain` runs what is due by this time, and the sleeps, deadlines, snoozes and retries of the jobs
    that it runs begin at this time. ``datetime.now()`` and the database's clock stay as they are.

    :param at: an aware datetime to begin with. Default: now.
    :raises InvalidOption: for a datetime without a time zone.

    It is held in a context variable, like :func:`mode`.
    """

    def __init__(self, at: datetime | None = None) -> None:
        self._now = datetime.now(UTC) if at is None else aware(at, "clock")
        self._before: list[clock | None] = []

    @property
    def now(self) -> datetime:
        """The time of the jobs, an aware datetime in UTC."""
        return self._now

    def move(self, by: timedelta | float) -> datetime:
        """Move the time on.

        :param by: a timedelta or seconds; 0 or more.
        :returns: the new time.
        :raises InvalidOption: for a value of another type, or a negative one.
        """
        return self.move_to(self._now + as_timedelta(by, "clock.move"))

    def move_to(self, at: datetime) -> datetime:
        """Move the time on to a moment.

        :param at: an aware datetime.
        :returns: the new time.
        :raises InvalidOption: for a moment that has passed, or one without a time zone.
        """
        moment = aware(at, "clock.move_to")
        if moment < self._now:
            raise InvalidOption(
                f"clock: it is {self._now.isoformat()}, and time can't be moved back to {at.isoformat()}"
            )
        self._now = moment
        return moment

    def __enter__(self) -> clock:
        self._before.append(_current.get())
        _current.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        _current.set(self._before.pop())

    async def __aenter__(self) -> clock:
        return self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        self.__exit__()


_current: ContextVar[clock | None] = ContextVar("oban_sqla_clock", default=None)


def current_clock() -> clock | None:
    """The clock of the block that runs this, if there is one."""
    return _current.get()


def aware(moment: object, what: str) -> datetime:
    """`moment` in UTC.

    :raises InvalidOption: for anything but an aware datetime.
    """
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        shown = moment.isoformat() if isinstance(moment, datetime) else repr(moment)
        raise InvalidOption(f"{what}: expected a datetime with a time zone, got {shown}")
    return moment.astimezone(UTC)


def as_timedelta(by: object, what: str) -> timedelta:
    """`by`, a timedelta or seconds, 0 or more.

    :raises InvalidOption: for anything else.
    """
    return timedelta(seconds=seconds(by, what))
