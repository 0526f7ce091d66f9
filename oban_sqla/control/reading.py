"""Reads on the user's engine for a call that waits: it goes on when a database that was away is back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ..errors import DatabaseUnavailable
from ..runtime.lanes.bounded import bounded
from ..runtime.lanes.failure import is_away
from ..runtime.lanes.lane import STATEMENT_TIMEOUT
from ..telemetry.database_error import described

T = TypeVar("T")

PATIENCE = 15.0
"""Seconds for which a database may be away."""
SHORTEST = 2.0
"""Seconds that a read may take, also where a call waits for less."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0


async def read_again(
    engine: AsyncEngine, read: Callable[[Connection], T], what: str, seconds: float | None = None
) -> T:
    """What `read` returns, which is called again while the database is away.

    :param what: for the message.
    :param seconds: for how long. Default: :data:`PATIENCE`.
    :raises DatabaseUnavailable: after so long.
    """
    until = time.monotonic() + (PATIENCE if seconds is None else seconds)
    pause = FIRST_PAUSE

    async def work(connection: AsyncConnection) -> T:
        return await connection.run_sync(read)

    while True:
        left = until - time.monotonic()
        try:
            return await bounded(engine, min(max(left, SHORTEST), STATEMENT_TIMEOUT), work)
        except Exception as error:
            if not is_away(error):
                raise
            if time.monotonic() + pause > until:
                raise DatabaseUnavailable(f"{what}: the database does not answer ({described(error)})") from error
        await asyncio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)
