"""A server of the test's own, which can be restarted under the same address."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy.ext.asyncio import create_async_engine

from oban_sqla import embedded, migrations
from tests.faults.proxy import Proxy, proxy
from tests.support import eventually


class Restartable:
    """A server with a kept data directory behind a proxy.

    :ivar url: of the proxy; stays the same over restarts.
    """

    def __init__(self, data: Path) -> None:
        self._data = data
        self._server = embedded.start(data)
        self.direct = self._server.url

    def attach(self, between: Proxy) -> None:
        self._between = between
        self.url = between.url

    async def down(self, how: str) -> None:
        """``fast``: sessions are ended and everything is written; ``immediate``: as by a loss of power."""
        pid = int((self._data / "postmaster.pid").read_text().split()[0])
        os.kill(pid, {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}[how])
        await eventually(lambda: not (self._data / "postmaster.pid").exists(), 20)
        self._server.stop()

    def up(self) -> None:
        self._server = embedded.start(self._data)
        self.direct = self._between.target = self._server.url

    def stop(self) -> None:
        self._server.stop()


@asynccontextmanager
async def restartable(data: Path) -> AsyncGenerator[Restartable]:
    """A migrated server in `data`, with PostgreSQL's own, safe settings."""
    server = Restartable(data)
    try:
        async with proxy(server.direct) as between:
            server.attach(between)
            engine = create_async_engine(server.direct)
            await migrations.migrate(engine)
            await engine.dispose()
            yield server
    finally:
        server.stop()
