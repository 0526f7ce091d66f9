"""Who works in the cluster, as anybody can read it in the database: nodes, their queues, and leaders.

It judges by the same rules as the lifeline, but at a glance: the lifeline believes what it sees only when it lasts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection

from ..options.heartbeat import Heartbeat, stale_after
from ..statements.cluster import look
from ..statements.roster import leases, members

OURS = "oban_sqla:"
"""How the leases of this package begin; others are those of Oban and oban-py."""

LONGEST_LEASE = 7_200.0
"""Seconds; a lease that ends later is nobody's, see `elect`."""


@dataclass(frozen=True, slots=True)
class Member:
    """One queue on one node."""

    key: str
    """The uuid of its producer."""
    name: str
    """Of its instance."""
    node: str
    queue: str
    silent: float | None
    """Seconds since its last sign of life; None for a time that nobody can have meant."""
    locked: bool
    """Whether its connection holds its lock."""
    is_alive: bool
    """Its sign is fresh, or its connection stands."""
    is_late: bool
    """Its sign is stale, whatever its lock says: blocked, stopped, cut off or dead."""
    is_ours: bool
    """Whether it is a node of this package."""
    limit: int | None
    """Jobs at once; None when it does not say."""
    paused: bool


@dataclass(frozen=True, slots=True)
class Lease:
    """Somebody's right to lead."""

    name: str
    holder: str
    left: float | None
    """Seconds until it ends; negative when it has."""

    @property
    def is_valid(self) -> bool:
        return self.left is not None and 0 < self.left <= LONGEST_LEASE

    @property
    def node(self) -> str:
        """The node that holds it."""
        return self.holder.rpartition("/")[0] or self.holder if self.name.startswith(OURS) else self.holder


@dataclass(frozen=True, slots=True)
class Roster:
    """Everybody."""

    members: tuple[Member, ...]
    leases: tuple[Lease, ...]

    @property
    def alive(self) -> list[Member]:
        return [member for member in self.members if member.is_alive]

    @property
    def leaders(self) -> list[Lease]:
        """Those of this package who lead now."""
        return [lease for lease in self.leases if lease.name.startswith(OURS) and lease.is_valid]

    @property
    def strangers(self) -> list[Lease]:
        """Other programs that lead now: Oban's own row, held by none of our leaders."""
        ours = {lease.holder for lease in self.leases if lease.name.startswith(OURS)}
        others = (lease for lease in self.leases if not lease.name.startswith(OURS) and lease.is_valid)
        return [lease for lease in others if lease.holder not in ours]

    def of(self, queue: str) -> list[Member]:
        """Those who work `queue` and live."""
        return [member for member in self.alive if member.queue == queue]

    def find(self, key: str) -> Member | None:
        """The one with this uuid."""
        return next((member for member in self.members if member.key == key), None)


def read(connection: Connection, heartbeat: Heartbeat) -> Roster:
    """The roster of this moment.

    :param heartbeat: when a node is stale that does not say so itself.
    """
    looked: list[Any] = list(look.execute(connection))
    seen = {key: (silent, bool(locked)) for key, _, silent, _, locked in looked}
    rows = (_member(row, *seen.get(row.key, (0.0, False)), heartbeat) for row in members.execute(connection))
    held = (Lease(row.name, row.holder, row.left) for row in leases.execute(connection))
    return Roster(tuple(sorted(rows, key=_place)), tuple(sorted(held, key=lambda lease: lease.name)))


def nodes(members: Iterable[Member]) -> set[str]:
    """The names of their nodes."""
    return {member.node for member in members}


def _place(member: Member) -> tuple[str, str, str]:
    return (member.queue, member.node, member.key)


def _member(row: Any, silent: float | None, locked: bool, heartbeat: Heartbeat) -> Member:
    said: object = json.loads(row.meta or "null")
    meta = cast(dict[str, object], said) if isinstance(said, dict) else {}
    limit = meta.get("local_limit")
    late = silent is None or silent >= stale_after(row.meta, heartbeat.stale_after)
    return Member(
        key=row.key,
        name=row.name,
        node=row.node,
        queue=row.queue,
        silent=silent,
        locked=locked,
        is_alive=not late or (locked and silent is not None and silent < heartbeat.dead_after),
        is_late=late,
        is_ours="stale_after" in meta,
        limit=limit if isinstance(limit, int) and not isinstance(limit, bool) else None,
        paused=meta.get("paused") is True,
    )
