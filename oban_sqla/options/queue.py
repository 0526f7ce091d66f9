"""How much of a queue runs at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, cast

from ..errors import InvalidOption
from .limits import Partition, RateLimit, check_global_limit, partition_of, rate_limit_of
from .spelling import spelled

LIMITS = ("global_limit", "rate_limit", "partition")
"""The options that hold for the whole cluster."""


@spelled
@dataclass(frozen=True, slots=True)
class Queue:
    """The options of a queue on a node.

    :param limit: the number of its jobs that this node runs at once, 1 to 10,000. Default 10.
    :param paused: start without fetching. Default False.
    :param prefetch: jobs to fetch beyond `limit`, 0 to 10,000, so that short jobs don't wait for a round trip. Never
        more than run during one round trip; returned if not started within 0.5 s, or if the queue is paused or
        stopped. Fetched jobs are ``executing``. Default 0: a job is fetched only when it can start.
    :param global_limit: the number of its jobs that all nodes together run at once, 1 to 1,000,000. Default: no limit.
    :param rate_limit: how many of its jobs may start in a period, in the whole cluster, a :class:`RateLimit`. Default:
        no limit.
    :param partition: divides its jobs by a key: keys take turns, and each can have limits, a
        :class:`Partition`. Default: none.
    :raises InvalidOption: for a value out of range, and for `prefetch` together with one of the last three: a job that
        is fetched ahead would take a slot and an allowance without running.

    The last three hold for all nodes of this package that work the queue, at every moment; nodes of oban-py obey none
    of them. While nodes disagree, as during a rolling deploy, the largest limit holds. The jobs of a node that dies
    free their slots when they are rescued. Testing with :func:`~oban_sqla.testing.drain` or inline mode ignores limits.
    """

    limit: int = 10
    _: KW_ONLY
    paused: bool = False
    prefetch: int = 0
    global_limit: int | None = None
    rate_limit: RateLimit | None = None
    partition: Partition | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.limit, int) or isinstance(self.limit, bool) or not 1 <= self.limit <= 10_000:  # pyright: ignore
            raise InvalidOption(f"Queue: limit must be a number of jobs from 1 to 10,000, got {self.limit!r}")
        if not isinstance(self.paused, bool):
            raise InvalidOption(f"Queue: paused must be True or False, got {self.paused!r}")
        if not isinstance(self.prefetch, int) or isinstance(self.prefetch, bool) or not 0 <= self.prefetch <= 10_000:
            raise InvalidOption(f"Queue: prefetch must be a number of jobs from 0 to 10,000, got {self.prefetch!r}")
        if self.global_limit is not None:
            check_global_limit(self.global_limit, "Queue")
        if self.rate_limit is not None and not isinstance(self.rate_limit, RateLimit):
            raise InvalidOption(f"Queue: rate_limit must be RateLimit(…), got {self.rate_limit!r}")
        if self.partition is not None and not isinstance(self.partition, Partition):
            raise InvalidOption(f"Queue: partition must be Partition(…), got {self.partition!r}")
        if self.partition is not None and self.partition.burst and self.global_limit is None:
            raise InvalidOption(
                "Queue: partition=Partition(…, burst=True) needs a global_limit, within which a key may burst"
            )
        if self.prefetch and self.is_limited:
            raise InvalidOption(
                f"Queue: prefetch={self.prefetch} with global_limit, rate_limit or partition: a job that is fetched "
                "ahead takes a slot that no job uses; leave out prefetch"
            )

    @property
    def is_limited(self) -> bool:
        """Whether it has limits of the cluster, or partitions."""
        return not (self.global_limit is None and self.rate_limit is None and self.partition is None)

    def with_limits(self, limits: Mapping[str, Any]) -> Queue:
        """The same queue with other limits of the cluster. Without ``global_limit`` no key bursts, and with any of them
        nothing is prefetched.

        :param limits: in the form in which the database keeps them; None for one that is lifted.
        :raises InvalidOption: for values that they can't have.
        """
        if not limits:
            return self
        given: dict[str, Any] = {name: getattr(self, name) for name in LIMITS} | dict(limits)
        rate, partition = given["rate_limit"], given["partition"]
        if rate is not None and not isinstance(rate, RateLimit):
            rate = rate_limit_of(rate, "rate_limit")
        if partition is not None and not isinstance(partition, Partition):
            partition = partition_of(partition, "partition")
        if given["global_limit"] is None and partition is not None:
            partition = replace(partition, burst=False)
        given |= {"rate_limit": rate, "partition": partition}
        limited = any(value is not None for value in given.values())
        return replace(self, **given, prefetch=0 if limited else self.prefetch)

    @property
    def described(self) -> str:
        """Its limits, for a log line or a table."""
        cluster = (f"{name.replace('_', ' ')} {getattr(self, name)}" for name in LIMITS if getattr(self, name))
        return ", ".join([f"limit {self.limit}", *cluster])

    @property
    def limits(self) -> dict[str, Any]:
        """Its limits of the cluster and its partition, in the form in which the database keeps them."""
        given = {"rate_limit": self.rate_limit, "partition": self.partition}
        return ({} if self.global_limit is None else {"global_limit": self.global_limit}) | {
            name: value.as_json for name, value in given.items() if value is not None
        }


def reported(meta: object) -> Queue:
    """The limits that a node of this package reports of a queue in its heartbeat; none where they are not valid."""
    given: Mapping[str, Any] = cast(Mapping[str, Any], meta) if isinstance(meta, Mapping) else {}
    limit = given.get("local_limit")
    try:
        limits = {name: given[name] for name in LIMITS if name in given}
        return Queue(limit=limit if isinstance(limit, int) else 10).with_limits(limits)
    except (InvalidOption, TypeError):
        return Queue()


def checked_queues(given: object) -> dict[str, Queue]:
    """What a user gave as ``queues=``.

    :raises InvalidOption: for anything but a mapping of names to limits or queues.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InvalidOption(
            f'queues: expected names with their limits, such as {{"default": 10}} or {{"default": Queue(…)}}, got '
            f"{given!r}"
        )
    return {str(name): as_queue(name, of) for name, of in cast(Mapping[object, object], given).items()}


def as_queue(name: object, given: object) -> Queue:
    """A value of ``queues={name: …}`` as a :class:`Queue`; a number is its limit.

    :raises InvalidOption: for a blank name, or a limit below 1.
    """
    if not isinstance(name, str) or not name.strip():
        raise InvalidOption(f"queues: expected the name of a queue, got {name!r}")
    if isinstance(given, Queue):
        return given
    if isinstance(given, int) and not isinstance(given, bool) and given >= 1:
        return Queue(limit=given)
    raise InvalidOption(f"queue {name!r}: expected a limit of 1 or more, or Queue(…), got {given!r}")
