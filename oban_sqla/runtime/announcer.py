"""Tells the other nodes that jobs were committed: at once when idle, then at most every 10 ms.

A NOTIFY inside each inserting transaction would serialise their commits; one from a separate connection, now and
then, costs them nothing. Where this node is about to fetch the jobs itself, it tells the others a little later.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable

from ..statements.notify import notify_at_once
from ..statements.wire import INSERTED, STAGED, channel
from .lanes.lane import Lane
from .loop import Loop

DEBOUNCE = 0.010
HEAD_START = 0.003
"""Seconds for the fetch of this node, which would else share the processors with the notification."""


class Announcer(Loop):
    """Sends what was announced since the last time.

    :param lane: the connection to send on.
    :param schema: where the tables live; the channels are named by it.
    :param origin: identifies the sender, because a listener hears its own notifications, too.
    """

    name = "announcer"

    def __init__(self, *, lane: Lane, schema: str | None, origin: str) -> None:
        super().__init__()
        # Given, and never written again.
        self._lane = lane
        self._schema = schema
        self._origin = origin
        # Channel and queue of what is to be announced: written by inserted() and soon(), taken by step().
        self._pending: set[tuple[str, str]] = set()

    def inserted(self, queues: Iterable[str], *, fetched_here: bool = False) -> None:
        """Jobs of `queues` are available.

        :param queues: their names.
        :param fetched_here: whether this node has room for them, and fetches them now. Default: False.
        """
        is_first = not self._pending
        self._pending.update((INSERTED, queue) for queue in queues)
        if not fetched_here:
            self.wake()
        elif is_first:  # else a wake-up is on its way
            asyncio.get_running_loop().call_later(HEAD_START, self.wake)

    def soon(self) -> None:
        """A job will be due within seconds."""
        self._pending.add((STAGED, ""))
        self.wake()

    async def step(self) -> float | None:
        if not self._pending:
            return None
        pending, self._pending = self._pending, set()
        messages = sorted(pending)
        try:
            await self._lane.run(
                notify_at_once,
                channels=[channel(name, self._schema) for name, _ in messages],
                payloads=[json.dumps({"queue": queue, "from": self._origin}) for _, queue in messages],
            )
        except BaseException:
            self._pending |= pending
            raise
        return DEBOUNCE

    async def last(self) -> None:
        """Do what it was asked for too late for its last step; after :meth:`stop`."""
        await self.step()

    async def _sleep(self, delay: float | None) -> None:
        if delay is None:
            await super()._sleep(delay)
        else:
            await asyncio.sleep(delay)  # nothing hurries the pause
