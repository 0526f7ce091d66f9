"""How long to wait before the next attempt. The formula is Oban's."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from ..errors import InvalidOption
from .duration import seconds
from .spelling import spelled

BACKOFF_BASE = 15
MAX_EXPONENT = 20


def default_backoff(attempt: int, max_attempts: int = 20) -> float:
    """Seconds until the next attempt: ``15 + 2**attempt``, plus up to 10 % at random.

    If `max_attempts` is above 20, the attempt is scaled to 20, so that a job with ``max_attempts=100`` does not wait
    longer in total than one with 20.

    :param attempt: the attempt that failed, from 1.
    :param max_attempts: the limit of the job. Default 20.
    """
    exponent = attempt if max_attempts <= MAX_EXPONENT else round(attempt / max_attempts * MAX_EXPONENT)
    return jittered(BACKOFF_BASE + 2.0 ** min(exponent, MAX_EXPONENT))


def jittered(delay: float, most: float = 0.1) -> float:
    """`delay` and up to `most` of it more, so that what failed together does not come back together."""
    return delay * (1.0 + random.random() * most)


@spelled
@dataclass(frozen=True, slots=True)
class Backoff:
    """The wait before the next attempt: ``@job(backoff=Backoff("exponential", base=1, max=600))``.

    :param kind: ``"constant"`` (always `base`), ``"linear"`` (`base` × attempt) or ``"exponential"``
        (`base` × 2\\ :sup:`attempt − 1`). Default ``"exponential"``.
    :param base: seconds, more than 0. Default 15.
    :param max: the longest wait in seconds, before jitter. Default: one day.
    :param jitter: the largest random addition, as a fraction of the wait, 0 to 1. Default 0.1.
    :raises InvalidOption: for a value out of range.
    """

    kind: Literal["constant", "linear", "exponential"] = "exponential"
    base: float = 15.0
    max: float = 86_400.0
    jitter: float = 0.1

    def __post_init__(self) -> None:
        if self.kind not in ("constant", "linear", "exponential"):
            raise InvalidOption(f"Backoff: kind must be constant, linear or exponential, got {self.kind!r}")
        for name, value in (("base", self.base), ("max", self.max)):
            if not _is_number(value) or not 0 < value < math.inf:
                raise InvalidOption(f"Backoff: {name} must be a number of seconds above 0, got {value!r}")
        if not _is_number(self.jitter) or not 0 <= self.jitter <= 1:
            raise InvalidOption(f"Backoff: jitter must be a share from 0 to 1, got {self.jitter!r}")

    def delay(self, attempt: int) -> float:
        """The wait after a failed attempt.

        :param attempt: the attempt that failed, from 1.
        :returns: seconds.
        """
        match self.kind:
            case "constant":
                wait = self.base
            case "linear":
                wait = self.base * attempt
            case "exponential":
                wait = self.base * 2.0 ** min(attempt - 1, 64)
        return jittered(min(wait, self.max), self.jitter)


def wait_of(value: object, what: str, others: str = "a timedelta or a Backoff(…)") -> float:
    """The seconds of a wait that is a number or a timedelta.

    :raises InvalidOption: for anything else; `others` are what else would do.
    """
    if not isinstance(value, int | float | timedelta):
        raise InvalidOption(f"{what}: expected seconds (0 or more), {others}, got {value!r}")
    return seconds(value, what)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


Wait = Backoff | float | timedelta
BackoffOption = Wait | Callable[[Any], Wait] | Callable[[Any, Any], Wait] | None
