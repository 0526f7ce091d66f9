"""Engines for the event loop that asks: connections of a pool can be used only on the loop that has made them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import NullPool
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from ..options.encryption import Encryption, using
from ..runtime.lanes.line import Line
from ..runtime.lanes.settings import READ_COMMITTED
from .answering import transaction

if TYPE_CHECKING:
    from ..runtime.node import Node


class Engines:
    """The user's engine on the loop of the node, and one like it, for as long as it is needed, on any other loop.

    Without a node that is started, the engine is used on the loop that asks first.

    :param engine: the user's.
    :param node: gives the started node, if there is one.
    :param encryption: the keys for what is done with the engine. Default: those of the process.
    """

    def __init__(
        self, engine: AsyncEngine, node: Callable[[], Node | None], encryption: Encryption | None = None
    ) -> None:
        # Given, and never written again.
        self._encryption = encryption
        self._engine = engine
        self._node = node
        # The loop of its connections, as far as is known: written by _is_of_this_loop().
        self._loop: asyncio.AbstractEventLoop | None = None

    @asynccontextmanager
    async def here(self) -> AsyncGenerator[AsyncEngine]:
        """The engine for the loop that runs this, and meanwhile the keys."""
        with using(self._encryption):
            async with self.without_keys() as engine:
                yield engine

    @asynccontextmanager
    async def transaction(self, options: Mapping[str, Any] = READ_COMMITTED) -> AsyncGenerator[AsyncSession]:
        """A session in a transaction for the loop that runs this, on a connection that answers; and the keys.

        :param options: execution options of the connection. Default: the isolation level of our statements.
        :raises DatabaseUnavailable: when the database can't be reached, or does not answer; nothing was written.
        """
        async with self.here() as engine, transaction(engine, options) as session:
            yield session

    @asynccontextmanager
    async def without_keys(self) -> AsyncGenerator[AsyncEngine]:
        """The engine alone. For generators: what they set is set in the task of the caller, and they may be closed in
        another task. They use the keys between two values."""
        if self._is_of_this_loop():
            yield self._engine
            return
        line = Line(self._engine)
        try:
            yield line.engine
        finally:
            await line.close()

    def _is_of_this_loop(self) -> bool:
        if (node := self._node()) is not None:
            return node.runs_here
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        return self._loop is loop or isinstance(self._engine.pool, NullPool)  # which keeps no connection
