"""What the leader's duties have in common, so that each is only what it does while its node leads."""

from __future__ import annotations

from abc import abstractmethod

from ..lanes.lane import Lane
from ..loop import Loop
from .leader import Leadership

HEAD_START = 0.1
"""Seconds that a node's own jobs have before its duties begin, when it is started."""


class Duty(Loop):
    """A loop that works while its node leads.

    :param lane: the connection to work on.
    :param leadership: says whether, and since when, this node leads; its token has to be in every statement.
    """

    def __init__(self, *, lane: Lane, leadership: Leadership) -> None:
        super().__init__()
        self.has_led = False
        """Whether it has done its work as the leader once. Written by `step`."""
        # Given, and never written again.
        self._lane = lane
        self._leadership = leadership
        self._delay = HEAD_START

    def start(self) -> None:
        self._awake.clear()  # set by the election; the first step comes soon enough
        super().start()

    async def step(self) -> float | None:
        if not self._leadership.leads:
            return await self.follow()
        delay = await self.lead()
        self.has_led = True
        return delay

    @abstractmethod
    async def lead(self) -> float | None:
        """Do what is to be done now, as the leader.

        :returns: as :meth:`step`.
        """

    async def follow(self) -> float | None:
        """Do what is to be done by a node that does not lead.

        :returns: as :meth:`step`. None, the default: nothing, until it is elected.
        """
        return None
