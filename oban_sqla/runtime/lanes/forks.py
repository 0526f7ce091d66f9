"""What a forked child must not keep: the connections of its parent's lanes.

A server holds the locks of a connection until every copy of its socket is closed. With a copy in a child that a job has
forked, a node that was killed would look alive for as long as the child lives. The child may not say goodbye either:
that would end the parent's session.
"""

from __future__ import annotations

import contextlib
import os
import weakref
from typing import TYPE_CHECKING

from .driver import descriptor

if TYPE_CHECKING:
    from .lane import Lane

_lanes: weakref.WeakSet[Lane] = weakref.WeakSet()


def close_in_children(lane: Lane) -> None:
    """Let the children that this process forks close the connection that `lane` has then."""
    _lanes.add(lane)


def forks() -> int:
    """How many children this process has forked. A connection that is being made meanwhile is in the child as well."""
    return _forks


_forks = 0


def _count() -> None:
    global _forks
    _forks += 1


def _close_all() -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for lane in list(_lanes):
        if (driver := lane.driver) is not None:
            # In the place of the socket, whose number the driver may close, or write to, at any time.
            with contextlib.suppress(Exception):
                os.dup2(nothing, descriptor(driver), inheritable=False)
    os.close(nothing)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_all, after_in_parent=_count)
