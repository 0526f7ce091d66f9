"""Limits of the whole cluster: how many jobs of a queue may start in a period, and how its jobs are partitioned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from datetime import timedelta
from typing import Any, Literal, cast

from ..errors import InvalidOption, refuse_unknown
from .duration import seconds
from .fields import kept_fields, listed_in
from .spelling import spelled
from .whole import whole_from

Algorithm = Literal["sliding", "token_bucket"]
ALGORITHMS = ("sliding", "token_bucket")
MOST = 1_000_000
LONGEST_PERIOD = 31 * 86_400.0
SHORTEST_PERIOD = 0.01
BUCKET = ", token bucket"
"""How the text of a rate with this algorithm ends."""
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600}
"""What other queues call their periods, in seconds."""


@spelled
@dataclass(frozen=True, slots=True)
class RateLimit:
    """How many jobs may start in a period, in the whole cluster.

    With ``"sliding"``, at most `allowed` starts are reserved in any window of `period` seconds, by the database's
    clock: exactly, and not on average. Every attempt counts, also a retry, and one that was snoozed or given back
    unstarted. Unused allowance is not saved up, and it comes back at most a fiftieth of the period late. The job's
    function begins a little after its start was reserved, so an outside observer can see the edges of two windows
    overlap by the time that the database's answer takes. Only nodes of this package obey it.

    ``"token_bucket"`` refills evenly, and lets up to twice `allowed` start in one window: a full bucket at once, and
    what is refilled during the window.

    A job can cost more than one start (``@job(weight=3)``). A weight above `allowed` counts as `allowed`. A job that
    costs more than is left waits, and so do the jobs behind it in its queue or partition.

    :param allowed: how many starts, 1 to 1,000,000.
    :param period: seconds or a timedelta, 0.01 s to 31 days.
    :param algorithm: ``"sliding"`` (default) or ``"token_bucket"``.
    :raises InvalidOption: for a value out of range.
    """

    allowed: int
    period: float | timedelta
    algorithm: Algorithm = "sliding"

    def __post_init__(self) -> None:
        _check_count("RateLimit", "allowed", self.allowed, "jobs")
        if not SHORTEST_PERIOD <= seconds(self.period, "RateLimit(period)") <= LONGEST_PERIOD:
            raise InvalidOption(f"RateLimit: period must be 0.01 seconds to 31 days, got {self.period!r}")
        if self.algorithm not in ALGORITHMS:
            raise InvalidOption(f'RateLimit: algorithm must be "sliding" or "token_bucket", got {self.algorithm!r}')

    @property
    def seconds(self) -> float:
        """The period in seconds."""
        return seconds(self.period, "RateLimit(period)")

    @property
    def as_json(self) -> dict[str, Any]:
        """In the form in which the database keeps it."""
        return {"allowed": self.allowed, "period": self.seconds, "algorithm": self.algorithm}

    def __str__(self) -> str:
        """As :func:`rate_limit_of` reads it."""
        period = f"{self.seconds:.0f}" if self.seconds.is_integer() else str(self.seconds)
        return f"{self.allowed}/{period}{BUCKET if self.algorithm == 'token_bucket' else ''}"


@spelled
@dataclass(frozen=True, slots=True)
class Partition:
    """Divides the jobs of a queue by a key. Keys take turns, and each can have limits in the whole cluster.

    Within a priority the keys take turns: each gives up to an eighth of the jobs that a node asks for, and where fewer
    than eight keys wait, they share what is left. So a key with many waiting jobs holds no other one up. Without
    `limit` and `rate_limit` that is all.

    There is one `by` for all nodes of a database: that of the node that started last, or of ``scale_queue``. When it
    changes, waiting jobs get their new keys while fetching goes on, and limits stay exact. The process that enqueues
    need not know how a queue is partitioned.

    :param by: ``"worker"``, ``"args.tenant_id"``, ``"meta.region"``, or a sequence of these. A key that is missing in
        args or meta counts as null.
    :param limit: how many jobs of one key run at once, 1 to 1,000,000. Default: no limit.
    :param rate_limit: how many jobs of one key may start in a period, a :class:`RateLimit`. Default: no limit.
    :param burst: whether a key may exceed its `limit` while the queue's ``global_limit`` has room that no other key
        asks for. Default False.
    :raises InvalidOption: for a value that is not valid, or ``burst`` without ``limit``.
    """

    by: str | Sequence[str]
    _: KW_ONLY
    limit: int | None = None
    rate_limit: RateLimit | None = None
    burst: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "by", kept_fields(self.by, "Partition"))
        if self.limit is not None:
            _check_count("Partition", "limit", self.limit, "jobs")
        if self.rate_limit is not None and not isinstance(self.rate_limit, RateLimit):
            raise InvalidOption(f"Partition: rate_limit must be RateLimit(…), got {self.rate_limit!r}")
        if not isinstance(self.burst, bool):
            raise InvalidOption(f"Partition: burst must be True or False, got {self.burst!r}")
        if self.burst and self.limit is None:
            raise InvalidOption("Partition: burst=True needs a limit that a key may exceed: limit=3")

    @property
    def fields(self) -> tuple[str, ...]:
        """What `by` names, in order."""
        return (self.by,) if isinstance(self.by, str) else tuple(self.by)

    @property
    def as_json(self) -> dict[str, Any]:
        """In the form in which the database keeps it."""
        rate = None if self.rate_limit is None else self.rate_limit.as_json
        return {"by": list(self.fields), "limit": self.limit, "rate_limit": rate, "burst": self.burst}

    def __str__(self) -> str:
        limits = [f"limit {self.limit}{', burst' if self.burst else ''}"] if self.limit is not None else []
        limits += [f"rate {self.rate_limit}"] if self.rate_limit is not None else []
        return f"by {', '.join(self.fields)}" + (f" ({', '.join(limits)})" if limits else "")


def check_global_limit(value: object, what: str) -> int:
    """`value`, if it is a limit of the cluster.

    :param what: has it, for the message.
    """
    return _check_count(what, "global_limit", value, "jobs")


def rate_limit_of(given: object, what: str) -> RateLimit:
    """A rate limit as JSON, a form or a file of settings carries it: an object, or text such as ``"100/60"`` or
    ``"100/60, token bucket"``.

    :param what: has it, for messages.
    :raises InvalidOption: for anything else.
    """
    if isinstance(given, str):
        plain = given.removesuffix(BUCKET)
        allowed, slash, period = plain.partition("/")
        try:
            if slash:
                return RateLimit(int(allowed), float(period), "sliding" if plain == given else "token_bucket")
        except ValueError as error:
            if isinstance(error, InvalidOption):
                raise
        meant = f'; write "{allowed}/{_UNITS[period]}"' if period in _UNITS and whole_from(allowed) else ""
        raise InvalidOption(
            f'{what}: expected a number of starts and of seconds, such as "100/60", got {given!r}{meant}'
        )
    return RateLimit(**_parts(given, ("allowed", "period", "algorithm"), ("allowed", "period"), what))


def partition_of(given: object, what: str) -> Partition:
    """A partition as JSON or a file of settings carries it: an object, or the fields, as a list or as text such as
    ``"args.tenant_id, worker"``.

    :param what: has it, for messages.
    :raises InvalidOption: for anything else.
    """
    if isinstance(given, str):
        return Partition(listed_in(given) or given)
    if isinstance(given, list):
        return Partition(cast(Sequence[str], given))
    parts = _parts(given, ("by", "limit", "rate_limit", "burst"), ("by",), what)
    rate = parts.pop("rate_limit", None)
    return Partition(**parts, rate_limit=None if rate is None else rate_limit_of(rate, f"{what}.rate_limit"))


def _parts(given: object, names: Sequence[str], needed: Sequence[str], what: str) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise InvalidOption(f"{what}: expected {' and '.join(needed)}, got {given!r}")
    parts = dict(cast(Mapping[str, Any], given))
    refuse_unknown(parts, names, what)
    if missing := [name for name in needed if name not in parts]:
        raise InvalidOption(f"{what}: {missing[0]} is missing, got {given!r}")
    return parts


def _check_count(what: str, name: str, value: object, of: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST:
        raise InvalidOption(f"{what}: {name} must be a number of {of} from 1 to {MOST:,}, got {value!r}")
    return value
