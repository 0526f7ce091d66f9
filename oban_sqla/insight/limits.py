"""The limits of a queue across the cluster, and how far they are used, as read from the database."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection

from ..options.limits import Partition, RateLimit
from ..options.queue import Queue
from ..statements.usage import allowance, busiest, partition_of, usages
from .queues import Member
from .words import span

FAR = 10_000
"""The number up to which jobs are counted."""
MOST_KEYS = 10
"""Partitions of a queue that are read."""


@dataclass(frozen=True, slots=True)
class KeyUsage:
    """A partition of a queue.

    :ivar values: its values, in the order of the queue's ``by``; a digest when they are long.
    :ivar running: how many of its jobs run.
    :ivar waiting: how many of its jobs are available.
    :ivar left: how many more starts its rate allows now; None without a rate.
    :ivar wait: seconds until its rate allows more starts, or its suspension ends; 0 when neither holds it back.
    """

    values: list[Any] | str
    running: int
    waiting: int
    left: int | None
    wait: float

    @property
    def text(self) -> str:
        """The values of the key as they are shown: as JSON, or the digest."""
        return self.values if isinstance(self.values, str) else json.dumps(self.values, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Usage:
    """The limits of a queue, and how far they are used.

    :ivar limits: the limits that its nodes obey; where they disagree, the largest.
    :ivar running: how many of its jobs run.
    :ivar left: how many more starts its rate allows now; None without a rate.
    :ivar wait: seconds until its rate allows more starts, or its suspension ends; 0 when neither holds it back.
    :ivar is_suspended: whether the whole queue is suspended.
    :ivar keys: the busiest partitions, and those that are suspended.
    """

    limits: Queue
    running: int
    left: int | None
    wait: float
    is_suspended: bool
    keys: tuple[KeyUsage, ...]

    @property
    def text(self) -> str:
        """The usage in one line: ``global 3 of 15, rate 100/60 (40 left), by args.tenant_id (limit 3)``."""
        limits = self.limits
        parts: list[str] = []
        if limits.global_limit is not None:
            parts.append(f"global {self.running} of {limits.global_limit}")
        if limits.rate_limit is not None:
            more = f"{self.left} left" if self.left else f"more in {span(self.wait)}"
            parts.append(f"rate {limits.rate_limit} ({more})")
        if limits.partition is not None:
            parts.append(str(limits.partition))
        if self.is_suspended:
            parts.append(f"suspended for {span(self.wait)}")
        return ", ".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """The limits as a dict that ``json.dumps`` accepts."""
        keys = [
            {"key": one.values, "running": one.running, "available": one.waiting, "left": one.left, "wait": one.wait}
            for one in self.keys
        ]
        asked = {"global_limit": None, "rate_limit": None, "partition": None} | self.limits.limits
        return asked | {"left": self.left, "wait": self.wait, "suspended": self.is_suspended, "keys": keys}


def effective(members: Sequence[Member]) -> Queue:
    """The limits that hold; where nodes disagree, the largest. Nodes of other programs obey no limits."""
    queues = [member.options for member in members if member.is_ours] or [Queue()]
    made = queues[0]
    for other in queues[1:]:
        made = replace(
            made,
            prefetch=0,
            global_limit=_larger(made.global_limit, other.global_limit),
            rate_limit=_faster(made.rate_limit, other.rate_limit),
            partition=_wider(made.partition, other.partition),
        )
    return made


def _at_present(connection: Connection, queue: str, members: Sequence[Member]) -> Queue:
    """The limits that hold. Where nodes disagree about the fields of the keys, the database knows which hold."""
    limits = effective(members)
    given = {member.options.partition.fields for member in members if member.is_ours and member.options.partition}
    if limits.partition is None or len(given) < 2:
        return limits
    by, _ = present_key(connection, queue, None)
    return replace(limits, partition=replace(limits.partition, by=by)) if by else limits


def read(
    connection: Connection, members: Mapping[str, Sequence[Member]], *, keys: int = MOST_KEYS, of: str | None = None
) -> dict[str, Usage]:
    """How far the limits of queues are used. Queues without limits that are not suspended are missing.

    :param members: for each queue, that queue on its living nodes.
    :param keys: how many partitions of a queue to read. Default: :data:`MOST_KEYS`.
    :param of: the queue whose partitions are read. Default: all queues.
    """
    limits = {queue: _at_present(connection, queue, found) for queue, found in members.items()}
    rates = [queue.rate_limit for queue in limits.values()]
    rows = usages.execute(
        connection,
        queues=list(limits),
        allowed=[None if rate is None else str(rate.allowed) for rate in rates],
        periods=[None if rate is None else repr(float(rate.seconds)) for rate in rates],
        buckets=[str(rate is not None and rate.algorithm == "token_bucket") for rate in rates],
        counted=[str(queue.is_limited) for queue in limits.values()],
        most=FAR,
    ).all()
    found: dict[str, Usage] = {}
    for row in rows:
        limit = limits[row.queue]
        if not limit.is_limited and not row.is_suspended:
            continue
        wait = row.rest if limit.rate_limit is None else row.wait
        shown = _keys(connection, row.queue, limit, keys if of in (None, row.queue) else 0)
        found[row.queue] = Usage(limit, row.running or 0, row.room, float(wait), row.is_suspended, shown)
    return found


def _keys(connection: Connection, queue: str, limits: Queue, most: int) -> tuple[KeyUsage, ...]:
    if limits.partition is None or not most:
        return ()
    shown: list[KeyUsage] = []
    rate = limits.partition.rate_limit
    for row in busiest.execute(connection, queue=queue, most=most, far=FAR).all():
        left, opens = (None, row.left or 0.0) if rate is None else allowed(connection, queue, row.key, rate)
        shown.append(KeyUsage(values_of(row.key), row.running, row.waiting, left, opens))
    return tuple(shown)


def allowed(connection: Connection, queue: str, key: str, rate: RateLimit | None) -> tuple[int, float]:
    """How many more starts `rate` allows now, and in how many seconds it allows more.

    :param key: the key of a partition; blank for the whole queue.
    """
    given: dict[str, Any] = {"allowed": None, "period": None, "bucket": False}
    if rate is not None:
        given = {"allowed": rate.allowed, "period": rate.seconds, "bucket": rate.algorithm == "token_bucket"}
    row = allowance.execute(connection, queue=queue, key=key, **given).one()
    return int(row.room), float(row.wait)


def suspension(connection: Connection, queue: str, key: str) -> tuple[bool, float]:
    """Whether the queue, or its partition `key`, is suspended, and for how many seconds."""
    room, wait = allowed(connection, queue, key, None)
    return room == 0, wait


def present_key(connection: Connection, queue: str, key: str | None) -> tuple[tuple[str, ...], str | None]:
    """The fields by which `queue` is partitioned now, and `key` if it was made by them, else None."""
    row = partition_of.execute(connection, queue=queue).one_or_none()
    if row is None or not row.by:
        return (), None
    return tuple(row.by), key if key is not None and key.startswith(f"{row.epoch}|") else None


def values_of(key: str) -> list[Any] | str:
    """The values of a key, or their digest."""
    text = key.partition("|")[2]
    if not text.startswith("["):  # a digest
        return text
    values: list[Any] = json.loads(text)
    return values


def named(by: Sequence[str], key: str) -> str:
    """A key for people: ``tenant_id 7``."""
    values = values_of(key)
    if isinstance(values, str):
        return f"a key of {', '.join(by)}"
    return ", ".join(
        f"{field.rpartition('.')[2]} {value if isinstance(value, str) else json.dumps(value)}"
        for field, value in zip(by, values, strict=False)
    )


def _larger(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else max(one, other)


def _faster(one: RateLimit | None, other: RateLimit | None) -> RateLimit | None:
    if one is None or other is None:
        return None
    return max(one, other, key=lambda rate: rate.allowed / rate.seconds)


def _wider(one: Partition | None, other: Partition | None) -> Partition | None:
    if one is None or other is None:
        return None
    return replace(
        one,
        limit=_larger(one.limit, other.limit),
        rate_limit=_faster(one.rate_limit, other.rate_limit),
        burst=(one.burst or other.burst) and one.limit is not None and other.limit is not None,
    )
