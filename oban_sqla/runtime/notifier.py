"""Listens: on its own connection, because a LISTEN on a pooled one would leak to its next borrower."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from ..statements.ping import ping
from ..statements.wire import unpacked
from ..telemetry import node_logger as logger
from .lanes.lane import Lane
from .loop import Loop

CHECK_EVERY = 2.25
TIMEOUT = 2.0
"""Seconds. A listening connection says nothing when its peer is gone; with this it is noticed within five."""
PSYCOPG_SLICE = 1.0
"""Seconds, at most, for which psycopg is asked for notifications; statements on this connection wait meanwhile."""

Heard = Callable[[str, dict[str, Any]], None]


class Notifier(Loop):
    """Hears notifications, and connects again when the connection is lost.

    :param lane: the connection to listen on, with a short timeout.
    :param driver: the driver's name; psycopg has to be asked for notifications.
    :param channels: the channels' names.
    :param heard: called with the channel and the payload.
    :param connected: called after each new LISTEN: what was sent in between is lost and has to be looked for.
    """

    name = "notifier"

    def __init__(
        self, *, lane: Lane, driver: str, channels: list[str], heard: Heard, connected: Callable[[], None]
    ) -> None:
        super().__init__()
        # Given, and never written again.
        self.lane = lane
        self._is_psycopg = driver == "psycopg"
        self._channels = channels
        self._heard = heard
        self._connected = connected
        # The wait for notifications of psycopg: written by _hear(), cancelled by stop().
        self._hearing: asyncio.Task[None] | None = None
        lane.prepare = self._listen

    async def stop(self) -> None:
        """End at once: what is heard now is of no use any more."""
        self._stopped.set()
        if self._hearing is not None:
            self._hearing.cancel()
        await super().stop()

    async def step(self) -> float | None:
        await self.lane.connect()
        unheard = time.monotonic() - self.lane.answered_at  # by a ping, or whatever else the connection is used for
        if unheard >= CHECK_EVERY:
            await self.lane.run(ping)
            unheard = 0.0
        rest = CHECK_EVERY - unheard
        if not self._is_psycopg:  # the driver calls back by itself
            return rest
        await self.lane.guarded(lambda driver: self._hear(driver, min(rest, PSYCOPG_SLICE)))
        return 0.0

    async def _listen(self, driver: Any) -> None:
        for name in self._channels:
            if self._is_psycopg:
                await driver.execute(f'LISTEN "{name}"')
            else:
                await driver.add_listener(name, self._on_asyncpg)
        if not self._is_psycopg:
            driver.add_termination_listener(self._on_termination)
        self._connected()

    async def _hear(self, driver: Any, seconds: float) -> None:
        if self._stopping:
            return
        self._hearing = asyncio.create_task(self._take(driver, seconds))
        try:
            await self._hearing
        except asyncio.CancelledError:
            if not self._stopping:
                raise
        finally:
            self._hearing = None

    async def _take(self, driver: Any, seconds: float) -> None:
        async for notice in driver.notifies(timeout=seconds):
            self._on(notice.channel, notice.payload)

    def _on_termination(self, _connection: object) -> None:
        asyncio.get_running_loop().call_soon(self.wake)

    def _on_asyncpg(self, _connection: object, _pid: int, channel: str, payload: object) -> None:
        self._on(channel, str(payload))

    def _on(self, channel: str, payload: str) -> None:
        try:
            self._heard(channel, unpacked(payload))
        except ValueError:
            logger.debug("ignored a notification on %s that is not valid", channel)
