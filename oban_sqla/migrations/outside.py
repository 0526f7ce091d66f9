"""What no transaction can run, as building indexes CONCURRENTLY: one process at a time, on a connection apart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

LOCK = 0x6F62616E  # "oban": only one `migrate` at a time in a database
BUILDING = LOCK + 1
"""Held for as long as indexes are built, too; asked for without waiting, because a build waits for who waits."""


@asynccontextmanager
async def alone(engine: AsyncEngine) -> AsyncGenerator[None]:
    """While no other process builds indexes for this package in this database.

    A transaction that waits for a lock has a snapshot, and an index that is built CONCURRENTLY waits for that; so the
    lock is tried for, and held by a transaction that does nothing.
    """
    while True:
        async with engine.begin() as connection:
            got = await connection.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": BUILDING})
            # Last, because the portal of a query keeps its snapshot until the next statement.
            await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            if got:
                yield
                return
        await asyncio.sleep(0.2)


@asynccontextmanager
async def outside(engine: AsyncEngine) -> AsyncGenerator[AsyncConnection]:
    """A connection in autocommit. After a failure it does not go back to its pool: its timeouts may still be off."""
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        try:
            yield connection
        except BaseException:
            await connection.invalidate()
            raise
