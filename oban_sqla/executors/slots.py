"""The slot of a job that runs in a child: the child says what the job does with its slot, and the node does it."""

from __future__ import annotations

from collections.abc import Callable

from ..workers.context import SlotsLike
from . import wire

RELEASE, LEAVE, RETURN = "release", "leave", "return"


class SlotsOfNode:
    """The child's side: where its job counts as running.

    :param send: sends a frame to the node.
    """

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send

    def release(self, job_id: int) -> None:
        """From now on this job does not count."""
        self._say(RELEASE)

    def leave(self, job_id: int) -> None:
        """This job waits, and does not count meanwhile."""
        self._say(LEAVE)

    async def back(self, job_id: int) -> None:
        """This job counts again, at once: its process has stayed busy."""
        self._say(RETURN)

    def return_now(self, job_id: int) -> None:
        """This job counts again, at once, because its wait was cancelled."""
        self._say(RETURN)

    def _say(self, what: str) -> None:
        self._send(wire.message(wire.EVENT, slot=what))


def heard_of(slots: SlotsLike | None, job_id: int) -> Callable[[str], None]:
    """The node's side: a function that does what the child says about the slot of the job."""

    def heard(what: str) -> None:
        if slots is None:
            return
        if what == RELEASE:
            slots.release(job_id)
        elif what == LEAVE:
            slots.leave(job_id)
        elif what == RETURN:
            slots.return_now(job_id)

    return heard
