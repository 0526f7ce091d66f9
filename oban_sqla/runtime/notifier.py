"""Listens: on its own connection, because a LISTEN on a pooled one would leak to its next borrower."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from ..statements.ping import ping
from ..statements.wire import unpacked
from ..telemetry import logger
from .lanes.lane import Lane
from .loop import Loop

CHECK_EVERY = 2.5
TIMEOUT = 2.0
"""Seconds. A listening connection says nothing when its peer is gone; with this it is noticed within five."""
PSYCOPG_SLICE = 1.0

Heard = Callable[[str, dict[str, Any]], None]


class Notifier(Loop):
    """Hears notifications, and connects again when the connection is lost.

    :param channels: the channels' names.
    :param heard: called with the channel and the payload.
    :param connected: called after each new LISTEN; what was sent in between is lost, so look for yourself.
    """

    name = "notifier"

    def __init__(self, engine: AsyncEngine, channels: list[str], heard: Heard, connected: Callable[[], None]) -> None:
        super().__init__()
        self.lane = Lane(engine, "listening", self._listen, timeout=TIMEOUT)
        self._channels = channels
        self._heard = heard
        self._connected = connected
        self._is_psycopg = engine.dialect.driver == "psycopg"

    async def step(self) -> float | None:
        await self.lane.connect()
        unheard = time.monotonic() - self.lane.answered_at  # by a ping, or whatever else the connection is used for
        if unheard >= CHECK_EVERY:
            await self.lane.run(ping)
            unheard = 0.0
        if not self._is_psycopg:  # the driver calls back by itself
            return CHECK_EVERY - unheard
        await self.lane.guarded(self._hear_for_a_while)
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

    async def _hear_for_a_while(self, driver: Any) -> None:
        async for notice in driver.notifies(timeout=PSYCOPG_SLICE):
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
