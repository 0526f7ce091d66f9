"""A transaction on a connection that answers, for a change that is made once.

A pool keeps connections that the server has closed meanwhile, or on which nothing arrives any more. So each is asked
before it is used: then nothing has been written, and another one can be taken. The change itself is never sent again.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from ..errors import DatabaseUnavailable
from ..runtime.lanes.driver import cut, is_closed
from ..runtime.lanes.failure import is_away
from ..runtime.lanes.lane import STATEMENT_TIMEOUT
from ..runtime.lanes.settings import READ_COMMITTED
from ..runtime.lanes.watchdog import within
from ..statements.ping import ping
from ..telemetry.database_error import described

PATIENCE = STATEMENT_TIMEOUT
"""Seconds that a connection may take to answer when it is asked."""
FRESH = 1.0
"""Seconds after an answer within which a connection is not asked again, if the line stands."""

_ANSWERED = "oban_sqla.answered"


@asynccontextmanager
async def transaction(engine: AsyncEngine, options: Mapping[str, Any] = READ_COMMITTED) -> AsyncGenerator[AsyncSession]:
    """A session whose transaction is committed at the end; its connection has answered just now.

    :param options: execution options of the connection. Default: the isolation level of our statements.
    :raises DatabaseUnavailable: when the database can't be reached, or does not answer; nothing was written.
    """
    async with AsyncSession(engine, expire_on_commit=False) as session:
        await _answer(session, options)
        yield session
        await session.commit()


async def _answer(session: AsyncSession, options: Mapping[str, Any]) -> None:
    try:
        await _ask(await session.connection(execution_options=options))
        return
    except Exception as error:
        if not is_away(error):
            raise
    await session.rollback()
    try:
        connection = await within(PATIENCE, session.connection(execution_options=options), lambda: False)
        await _ask(connection)
    except Exception as error:
        if not is_away(error):
            raise
        raise DatabaseUnavailable(f"the database does not answer, nothing was written ({described(error)})") from error


async def _ask(connection: AsyncConnection) -> None:
    """See to it that `connection` answers; one that does not is cut.

    :raises TimeoutError: when it has not answered in time.
    """
    info = connection.info
    driver = (await connection.get_raw_connection()).driver_connection
    if time.monotonic() - info.get(_ANSWERED, -math.inf) < FRESH and not is_closed(driver, looks=True):
        return

    def end() -> bool:
        cut(driver)
        return True

    asked = asyncio.ensure_future(connection.run_sync(lambda plain: ping.execute(plain).all()))
    try:
        await within(PATIENCE, asked, end)
    except asyncio.CancelledError:
        end()
        await asyncio.wait([asked])
        raise
    info[_ANSWERED] = time.monotonic()
