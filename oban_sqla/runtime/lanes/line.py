"""The way to the database that the lanes of a node share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from ...statements.statement import Compiled, Statement
from .settings import READ_COMMITTED


class Line:
    """An engine that connects like the user's, with a pool apart, and what is known of the way to the server.

    :param engine: whose pool is copied, so that `creator`, ``do_connect`` hooks and TLS settings apply.
    :param pooled: whether a transaction pooler lies on the way. None, the default: not known yet; until it is,
        lanes send what works with and without one.
    """

    def __init__(self, engine: AsyncEngine, pooled: bool | None = None) -> None:
        sync = engine.sync_engine
        copy = Engine(sync.pool.recreate(), sync.dialect, sync.url, hide_parameters=True)
        self.engine = AsyncEngine(copy).execution_options(**sync.get_execution_options() | READ_COMMITTED)
        self.pooled = pooled
        # Given, and never written again.
        self._schemas = sync.get_execution_options().get("schema_translate_map")

    def compiled(self, statement: Statement) -> Compiled:
        """The statement as text for the driver."""
        return statement.compiled(self.engine.dialect, self._schemas)

    async def compile(self, statements: Iterable[Statement]) -> None:
        """Compile what will be sent, while other tasks wait for the server: each takes milliseconds the first time."""
        if self.engine.dialect.driver == "asyncpg":  # with others SQLAlchemy compiles, and keeps what it has compiled
            for statement in statements:
                self.compiled(statement)
                await asyncio.sleep(0)

    async def close(self) -> None:
        """Close the connections that are in the pool. Those of the lanes are not."""
        await self.engine.dispose()
