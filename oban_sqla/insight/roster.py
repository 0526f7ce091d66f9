"""The nodes of the cluster, their queues, and the leaders, as read from the database.

It judges by the same rules as the lifeline, but by one look. The lifeline looks again before it acts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection

from ..options.heartbeat import Heartbeat, stale_after
from ..options.payload import object_of
from ..options.queue import reported
from ..statements.roster import leases, members
from .queues import Member

OURS = "oban_sqla:"
"""The beginning of the names of this package's leases; other names are those of Oban and oban-py."""

LONGEST_LEASE = 7_200.0
"""Most seconds to the end of a valid lease, see :func:`oban_sqla.statements.lead.elect`."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of a node to lead an instance.

    :ivar name: of the lease.
    :ivar holder: the node that holds it; in a lease of this package, followed by the id of the node's start.
    :ivar left: seconds until it ends, negative when it has ended; None for an infinite time.
    """

    name: str
    holder: str
    left: float | None

    @property
    def is_valid(self) -> bool:
        """Whether its holder leads."""
        return self.left is not None and 0 < self.left <= LONGEST_LEASE

    @property
    def is_ours(self) -> bool:
        """Whether it is a lease of this package."""
        return self.name.startswith(OURS)

    @property
    def instance(self) -> str:
        """The instance that its holder leads."""
        return self.name.removeprefix(OURS)

    @property
    def node(self) -> str:
        """The node that holds it."""
        return self.holder.rpartition("/")[0] or self.holder if self.is_ours else self.holder


@dataclass(frozen=True, slots=True)
class Roster:
    """The cluster at one moment.

    :ivar members: the queues on living and dead nodes, ordered by queue and node.
    :ivar leases: all leases, also those that have ended.
    """

    members: tuple[Member, ...]
    leases: tuple[Lease, ...]

    @property
    def alive(self) -> list[Member]:
        """The members whose nodes are alive."""
        return [member for member in self.members if member.is_alive]

    @property
    def leaders(self) -> list[Lease]:
        """The leases of this package's leaders."""
        return [lease for lease in self.leases if lease.is_ours and lease.is_valid]

    @property
    def foreign_leaders(self) -> list[Lease]:
        """The leases by which other programs lead: Oban's own lease, unless one of our leaders holds it."""
        holders = {lease.holder for lease in self.leases if lease.is_ours}
        others = (lease for lease in self.leases if not lease.is_ours and lease.is_valid)
        return [lease for lease in others if lease.holder not in holders]

    def of(self, queue: str) -> list[Member]:
        """The living members that work `queue`."""
        return [member for member in self.alive if member.queue == queue]

    def find(self, key: str) -> Member | None:
        """The member whose uuid, as text, is `key`; None when there is none."""
        return next((member for member in self.members if str(member.uuid) == key), None)


def read(connection: Connection, heartbeat: Heartbeat) -> Roster:
    """The roster at this moment.

    :param heartbeat: when a node counts as stale, for nodes that don't publish that.
    """
    rows = (_member(row, heartbeat) for row in members.execute(connection))
    held = (Lease(row.name, row.holder, row.left) for row in leases.execute(connection))
    return Roster(tuple(sorted(rows, key=_place)), tuple(sorted(held, key=lambda lease: lease.name)))


def nodes(members: Iterable[Member]) -> set[str]:
    """The names of the members' nodes."""
    return {member.node for member in members}


def _place(member: Member) -> tuple[str, str, str]:
    return (member.queue, member.node, str(member.uuid))


def _ids(value: object) -> list[int]:
    return [one for one in cast(list[object], value) if isinstance(one, int)] if isinstance(value, list) else []


def _member(row: Any, heartbeat: Heartbeat) -> Member:
    meta = object_of(row.meta)
    limit = meta.get("local_limit")
    late = row.silent is None or row.silent >= stale_after(row.meta, heartbeat.stale_after)
    return Member(
        queue=row.queue,
        node=row.node,
        uuid=row.uuid,
        limit=limit if isinstance(limit, int) and not isinstance(limit, bool) else 0,
        paused=meta.get("paused") is True,
        running=tuple(row.running),
        started_at=row.started_at,
        instance=row.name,
        last_beat=row.last_beat,
        silent=row.silent,
        locked=bool(row.locked),
        is_alive=not late or (bool(row.locked) and row.silent is not None and row.silent < heartbeat.dead_after),
        is_late=late,
        is_ours="stale_after" in meta,
        waiting=frozenset(_ids(meta.get("waiting"))),
        without_slot=frozenset(_ids(meta.get("without_slot"))),
        options=reported(meta),
    )
