"""How a run ends whose job goes to sleep."""

from __future__ import annotations

from .parts import parts_of


class Asleep(BaseException):
    """The job is scheduled again, and starts from its top then. The attempt does not count.

    Not an ``Exception``: a job that handles those must not go on as if it had slept.

    :param seconds: until it is due again.
    :param signal: the name of the signal that it waits for; None if it only sleeps.
    """

    def __init__(self, seconds: float, signal: str | None = None) -> None:
        self.seconds = seconds
        self.signal = signal
        what = "sleeps" if signal is None else f"waits for the signal {signal!r}"
        super().__init__(f"the job {what}; this ends its run, and has to pass through its code")


def asleep_in(error: BaseException) -> Asleep | None:
    """The :class:`Asleep` that `error` is, or that a group of tasks has raised; None if anything else was raised."""
    parts = parts_of(error)
    asleep = [one for one in parts if isinstance(one, Asleep)]
    return min(asleep, key=lambda one: one.seconds, default=None) if len(asleep) == len(parts) else None
