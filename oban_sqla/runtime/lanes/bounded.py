"""Work on a connection of a pool that ends in time, whatever the server does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from .driver import cut
from .settings import READ_COMMITTED
from .watchdog import take_exception, within

T = TypeVar("T")


async def bounded(engine: AsyncEngine, seconds: float, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    """What `work` returns on a connection of `engine` with our isolation level, which is cut when it takes longer.

    A time-out of asyncio alone would wait for ever for a server that says nothing: the driver answers it by asking
    the server to cancel. A caller that is cancelled leaves; the work goes on to its end.

    :raises TimeoutError: when it took longer.
    """
    drivers: list[Any] = []

    async def do() -> T:
        async with engine.connect() as connection:
            await connection.execution_options(**READ_COMMITTED)
            drivers.append((await connection.get_raw_connection()).driver_connection)
            made = await work(connection)
        drivers.clear()  # it is the pool's again
        return made

    def end() -> bool:
        for driver in drivers:
            cut(driver)
        return bool(drivers)

    task = asyncio.ensure_future(within(seconds, do(), end))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(take_exception)
        raise
