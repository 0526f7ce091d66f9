"""A lane: one connection of a node, used by one statement at a time.

On asyncpg the statements go to the driver as prepared text: through SQLAlchemy's execution each would cost three to
seven times the client CPU at small batches. On other drivers they go through SQLAlchemy.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import asyncpg
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from ...statements.statement import Compiled, Statement
from .driver import cut, is_closed, prepare_nothing, promised_backend, send
from .failure import StatementFailed, connecting_failed, is_answered, is_refused, statement_failed
from .forks import close_in_children, forks
from .line import Line
from .settings import BEGIN, PLAN_ALWAYS, commands
from .watchdog import Watchdog, take_exception, too_late, within

STATEMENT_TIMEOUT = 10.0
SERVERS_PATIENCE = 1.0
"""Seconds after which the server, too, gives up a statement that was given up here."""
CONNECT_TIMEOUT = 5.0

RESTED = 0.05
"""Seconds without an answer after which the line is looked at before a statement is sent."""
MOST_FORKED = 3
"""How often it connects where a child is forked each time."""

Prepare = Callable[[Any], Awaitable[None]]


class Lane:
    """One connection, used by one statement at a time. It connects when it is first used.

    :param line: the way to the database.
    :param name: for messages.
    :param timeout: seconds that a statement may take; after them the connection is given up.
    :param plans: how its statements are planned, one of the tuples in `settings`.
    """

    def __init__(
        self, line: Line, name: str, *, timeout: float = STATEMENT_TIMEOUT, plans: tuple[str, ...] = PLAN_ALWAYS
    ) -> None:
        self.name = name
        self.connections = 0
        """How many connections it has had; a change means that something may have been missed."""
        self.answered_at = 0.0
        """When, by the monotonic clock, the server last answered."""
        self.hurry = math.inf
        """Seconds that connecting may take, where that is less than :data:`CONNECT_TIMEOUT`."""
        self.is_given_up = False
        """Whether nothing is sent any more. Written by `give_up` and `resume`."""
        self.prepare: Prepare | None = None
        """Called with the driver's own connection, on every new one that is not behind a transaction pooler."""
        # Given, and never written again.
        self._line = line
        self._timeout = timeout
        self._watchdog = Watchdog(timeout, self._cut)
        # Nothing waits for it any more then; without this a slow server would be given the same again and again.
        self._settings = commands(plans, timeout + SERVERS_PATIENCE)
        # Held by whatever uses the connection, or makes it.
        self._lock = asyncio.Lock()
        # How many times it has tried to connect, and the last refusal with its number: written by _connected().
        self._attempts = 0
        self._refusal: tuple[int, StatementFailed] | None = None
        # The connection in its three forms: SQLAlchemy's, the driver's, and the driver's again where that is asyncpg.
        # Written by _connected() and _drop().
        self._connection: AsyncConnection | None = None
        self._driver: Any = None
        self._asyncpg: asyncpg.Connection[asyncpg.Record] | None = None
        # What was known of a pooler when the session was set up: written by _settle().
        self._settled: bool | None = None
        # The statements that were sent, as text: written by _compile().
        self._compiled: dict[Statement, Compiled] = {}
        # The work of callers, who may be cancelled while it goes on: written by _shielded().
        self._under_way: set[asyncio.Task[Any]] = set()
        close_in_children(self)

    @property
    def driver(self) -> Any:
        """The driver's own connection; None while there is none."""
        return self._driver

    @property
    def is_busy(self) -> bool:
        """Whether a statement is under way."""
        return self._lock.locked()

    @property
    def pooled(self) -> bool:
        """Whether the node connects through a transaction pooler."""
        return self._line.pooled is True

    async def run(self, statement: Statement, /, **parameters: Any) -> Sequence[Any]:
        """Execute `statement` in its own transaction, connecting first if need be.

        A caller that is cancelled leaves; the statement itself runs to its end, because cancelling it midway could
        leak the connection with its locks.

        :returns: the rows, as tuples.
        :raises StatementFailed: also after the timeout, which closes the connection.
        """
        rows: Sequence[Any] = await self._shielded(self.run_unshielded(statement, **parameters))
        return rows

    async def run_unshielded(self, statement: Statement, /, **parameters: Any) -> Sequence[Any]:
        """As :meth:`run`, for a caller that is never cancelled: the task of a :class:`Loop`. Saves creating a task."""
        try:
            return await self._run_once(statement, parameters)
        except asyncpg.InternalClientError:  # the server had taken its leave, so nothing was sent
            return await self._run_once(statement, parameters, again=True)

    async def _run_once(
        self, statement: Statement, parameters: dict[str, Any], *, again: bool = False
    ) -> Sequence[Any]:
        asked = self._attempts
        async with self._lock:
            connection = await self._connected(asked)
            try:
                if self._settled is not False:
                    rows = await within(self._timeout, self._run_pooled(connection, statement, parameters), self._cut)
                elif (driver := self._asyncpg) is not None:
                    compiled = self._compiled.get(statement) or self._compile(statement)
                    self._watchdog.begin()
                    rows = await driver.fetch(compiled.sql, *compiled.values(parameters))
                    self._watchdog.done()
                else:
                    rows = await within(self._timeout, connection.run_sync(_execute, statement, parameters), self._cut)
            except Exception as error:
                self._watchdog.done()
                if is_refused(error) and not again:
                    await self._drop()
                    raise
                late = too_late(self._timeout) if self._watchdog.has_bitten else None
                raise await self._failed(statement.name, late or error) from error
            self.answered_at = time.monotonic()
            return rows

    async def connect(self) -> None:
        """Connect if there is no connection, and set its session up for what is known of the line.

        :raises StatementFailed: when that fails, or takes longer than :data:`CONNECT_TIMEOUT`.
        """
        await self._shielded(self._locked_connect())

    async def close(self) -> None:
        """Wait for the statement under way, and close the connection."""
        if self._under_way:
            await asyncio.wait(self._under_way)
        async with self._lock:
            self._watchdog.close()
            await self._drop(politely=not self.is_given_up)

    def give_up(self) -> None:
        """Send nothing any more; the statement under way fails. For the end of a node whose server is silent."""
        self.is_given_up = True
        if self._lock.locked():
            self._cut()

    def resume(self) -> None:
        """The end of :meth:`give_up`."""
        self.is_given_up = False

    async def guarded(self, use: Callable[[Any], Awaitable[Any]]) -> Any:
        """Run ``use(driver)`` while no statement is under way, connecting first if need be."""

        async def run() -> Any:
            asked = self._attempts
            async with self._lock:
                await self._connected(asked)
                try:
                    return await use(self._driver)
                except Exception as error:
                    raise await self._failed(self.name, error) from error

        return await self._shielded(run())

    async def promised_backend(self) -> int:
        """The process id of the backend that was named when the connection was made."""

        async def read(driver: Any) -> int:
            return promised_backend(driver)

        return int(await self.guarded(read))

    async def _shielded(self, work: Any) -> Any:
        task: asyncio.Task[Any] = asyncio.ensure_future(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(take_exception)
            raise

    async def _run_pooled(
        self, connection: AsyncConnection, statement: Statement, parameters: dict[str, Any]
    ) -> Sequence[Any]:
        await send(self._driver, BEGIN)
        try:
            if (driver := self._asyncpg) is not None:
                compiled = self._compiled.get(statement) or self._compile(statement)
                # Without a name nothing of it stays on the server's connection, nor in the driver's cache.
                prepared = await driver.prepare(compiled.sql, name="")
                rows: Sequence[Any] = await prepared.fetch(*compiled.values(parameters))
            else:
                rows = await connection.run_sync(_execute, statement, parameters)
        except Exception as error:
            if is_answered(error):
                await self._driver.execute("ROLLBACK")
            raise
        await self._driver.execute("COMMIT")
        return rows

    def _compile(self, statement: Statement) -> Compiled:
        compiled = self._compiled[statement] = self._line.compiled(statement)
        return compiled

    async def _locked_connect(self) -> None:
        asked = self._attempts
        async with self._lock:
            await self._connected(asked)

    async def _connected(self, asked: int) -> AsyncConnection:
        """The connection, set up; `asked` is how many attempts had begun when the caller came."""
        if self.is_given_up:
            raise connecting_failed(self.name, TimeoutError("the node stops, and the server has been silent"))
        connection = self._connection
        if self._driver is not None and self._is_closed(self._driver):
            connection = None
        if connection is not None and self._settled is self._line.pooled:
            return connection
        if self._refusal is not None and self._refusal[0] > asked:
            # An attempt that began after the caller came has failed: a queue of callers that each wait for another
            # attempt would still be failing long after the server is back.
            raise self._refusal[1]
        self._attempts += 1
        longest = min(CONNECT_TIMEOUT, self.hurry)
        try:
            if connection is not None:
                await within(longest, self._settle(connection), self._cut)
                return connection
            await self._drop()
            tries = MOST_FORKED
            while True:
                before = forks()
                connection = self._connection = await within(longest, self._line.engine.connect(), self._cut)
                await within(longest, self._settle(connection), self._cut)
                tries -= 1
                if tries == 0 or forks() == before:
                    return connection
                # A child that was forked meanwhile has a copy of the socket: only a goodbye ends this session.
                await self._drop(politely=True)
        except Exception as error:
            await self._drop()
            refusal = connecting_failed(self.name, error)
            self._refusal = (self._attempts, refusal)
            raise refusal from error

    def _is_closed(self, driver: Any) -> bool:
        """Whether the line has ended, as far as can be known without asking the server."""
        if self.prepare is not None:  # it listens: there may be notifications to be read
            return self._asyncpg is not None and is_closed(driver, looks=False)
        # A look is a system call, which a busy lane can spare where the driver hears of the end by itself.
        busy = self._asyncpg is not None and time.monotonic() - self.answered_at < RESTED
        return is_closed(driver, looks=not busy)

    async def _settle(self, connection: AsyncConnection) -> None:
        """Take the connection from its pool when it is new, and set its session up for what is known of the line."""
        if self._driver is None:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            driver = self._driver = (await connection.get_raw_connection()).driver_connection
            if connection.sync_connection is not None:
                connection.sync_connection.detach()
            if isinstance(driver, asyncpg.Connection):
                self._asyncpg = driver
            self.connections += 1
        pooled = self._settled = self._line.pooled
        if pooled:
            prepare_nothing(self._driver)
        elif pooled is False:
            await send(self._driver, self._settings)
            if self.prepare is not None:
                await self.prepare(self._driver)

    async def _failed(self, what: str, error: Exception) -> StatementFailed:
        """The failure to raise for `error`; gives the connection up unless it is as good as before."""
        failure = statement_failed(what, error)
        if not failure.keeps_connection:
            await self._drop()
        return failure

    def _cut(self) -> bool:
        if self._driver is None:
            return False
        cut(self._driver)
        return True

    async def _drop(self, politely: bool = False) -> None:
        connection, driver = self._connection, self._driver
        self._connection = self._asyncpg = self._driver = None
        if isinstance(driver, asyncpg.Connection) and not politely:
            driver.terminate()
        elif driver is not None:
            await _quietly(driver.close())
        if connection is not None:
            # Only SQLAlchemy's part is left to be told.
            await _quietly(connection.invalidate())
            await _quietly(connection.close())


def _execute(connection: Connection, statement: Statement, parameters: dict[str, Any]) -> Sequence[Any]:
    return statement.execute(connection, **parameters).all()


async def _quietly(work: Awaitable[None]) -> None:
    with contextlib.suppress(Exception):
        async with asyncio.timeout(CONNECT_TIMEOUT):
            await work
