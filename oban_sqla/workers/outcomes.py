"""What a worker can say beside returning: snooze, cancel, discard, record.

Each can be returned or raised. Raising is for code that is deep inside a call; the effect is the same.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from ..options.duration import seconds


class Outcome(Exception):
    """Base of what a worker may return or raise to decide its job's fate."""


class Snooze(Outcome):
    """Run the job again later; the attempt is not counted.

    :param delay: seconds (int or float), or a timedelta; at least 0.
    :raises InvalidOption: for a negative delay or another type.

    As in Oban, ``meta["snoozed"]`` counts how often.
    """

    def __init__(self, delay: float | timedelta) -> None:
        self.seconds = seconds(delay, "Snooze")
        super().__init__(f"snoozed for {self.seconds:g} s")


class _Reasoned(Outcome):
    def __init__(self, reason: object = None) -> None:
        self.reason = "" if reason is None else str(reason)
        super().__init__(self.reason)


class Cancel(_Reasoned):
    """Stop for good, by decision: the job becomes ``cancelled`` and the reason is recorded among its errors.

    :param reason: anything with a ``str()``; default: none.
    """


class Discard(_Reasoned):
    """Stop for good, by failure: the job becomes ``discarded`` and the reason is recorded among its errors.

    :param reason: anything with a ``str()``; default: none.
    """


class Record(Outcome):
    """Complete the job and keep `value` in ``meta["return"]``.

    :param value: anything JSON can carry, up to 1 MiB as JSON; anything else makes the run a failure.
    """

    def __init__(self, value: Any) -> None:
        self.value = value
        super().__init__("recorded")
