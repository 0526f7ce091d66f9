"""The part of its node's limits that this process takes, where a node consists of several processes."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Share:
    """One of the processes of a node, and so many parts of its limits.

    :param index: which one, from 0.
    :param of: how many processes the node has.
    :param node: the name that they share, where the runtime was given none.
    """

    index: int = 0
    of: int = 1
    node: str | None = None

    def limit(self, whole: int) -> int:
        """How many of `whole` this process takes: together they take all of them."""
        return whole // self.of + (self.index < whole % self.of)


def default_node() -> str:
    """The name of a node that was given none: that of its host, and its process."""
    return f"{socket.gethostname()}.{os.getpid()}"


class _Process:
    share = Share()


def take(share: Share) -> None:
    """From now on, every runtime of this process takes this share. For a process that a supervisor has started."""
    _Process.share = share


def share() -> Share:
    """The share of this process: the whole of its node, unless a supervisor has started it."""
    return _Process.share
