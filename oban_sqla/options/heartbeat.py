"""How often a node writes its heartbeat, and when a node counts as dead."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InvalidOption
from .duration import seconds
from .payload import object_of
from .spelling import spelled


@spelled
@dataclass(frozen=True, slots=True)
class Heartbeat:
    """How often a node writes its heartbeat, and when a node counts as dead.

    :param interval: seconds, or a timedelta, between two heartbeats, more than 0. Default 5.
    :param stale_after: seconds, or a timedelta, without a heartbeat after which a node is dead if its lock is free,
        that is, if its connection has ended too. At least twice the interval. Default 15.
    :param dead_after: seconds, or a timedelta, without a heartbeat after which a node is dead even if its lock is held;
        for networks that do not report a lost connection. At least twice the interval. Default 3600.
    :raises InvalidOption: for a value out of range.
    """

    interval: float = 5.0
    stale_after: float = 15.0
    dead_after: float = 3600.0

    def __post_init__(self) -> None:
        for option in ("interval", "stale_after", "dead_after"):
            if not (given := seconds(getattr(self, option), f"Heartbeat({option})")) > 0:
                raise InvalidOption(f"Heartbeat: {option} must be seconds above 0, got {getattr(self, option)!r}")
            object.__setattr__(self, option, given)
        for option in ("stale_after", "dead_after"):
            if getattr(self, option) < 2 * self.interval:
                raise InvalidOption(
                    f"Heartbeat: {option} must be at least twice the interval ({2 * self.interval:g} s), so that one "
                    f"late heartbeat does not count as a death; got {getattr(self, option)!r}"
                )


PATIENCE = 4
"""How many times longer a producer without a lock may be silent."""


FOREIGN_STALE_AFTER = 60.0
"""Seconds, at least, for a producer that is not of this package: oban-py sends a heartbeat every 15 s."""


def patience(ours: float) -> float:
    """Seconds without a heartbeat after which a producer is stale that names no limits, or has no lock.

    :param ours: `stale_after` of the node that judges.
    """
    return max(PATIENCE * ours, FOREIGN_STALE_AFTER)


def stale_after(meta: str | None, ours: float) -> float:
    """After how many seconds a producer with this meta is stale; the nodes of a cluster may have different options."""
    said = object_of(meta)
    theirs: object = said.get("stale_after")
    if not isinstance(theirs, int | float) or isinstance(theirs, bool):
        return patience(ours)
    longest = max(ours, theirs)
    return longest if said.get("locked") is True else PATIENCE * longest
