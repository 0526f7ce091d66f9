"""The connections that a node holds for itself, apart from the user's pool.

They are made by a twin of the engine's pool, so that `creator`, ``do_connect`` hooks and TLS settings apply. On
asyncpg the statements go to the driver as prepared text: through SQLAlchemy's execution each would cost three to seven
times the client CPU at small batches. On other drivers they go through SQLAlchemy.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ...statements.statement import Compiled, Statement
from .watchdog import Watchdog

STATEMENT_TIMEOUT = 10.0
SERVERS_PATIENCE = 1.0
"""Seconds after which the server, too, gives up a statement that was given up here."""
CONNECT_TIMEOUT = 5.0
LAST_MOMENT = 0.5
"""Seconds that a driver gets to notice that its line was cut."""

# Every statement has an index, and must use it whatever the statistics say: they speak of a state as it was a minute
# ago. The rest keeps settings of the server or role that suit other programs away from these short statements.
SETTINGS = (
    "SET enable_seqscan = off",
    "SET jit = off",
    "SET default_transaction_isolation = 'read committed'",
    "SET TimeZone = 'UTC'",
    "SET application_name = 'oban_sqla'",
)
# A plan that was cached on an empty table is 50 to 400 times too slow when the table has filled, so none is cached...
PLAN_ALWAYS = ("SET plan_cache_mode = force_custom_plan",)
# ... except where there is but one plan to choose. Planning is two fifths of what the server does for a fetch of ten or
# their acks; so those statements are written, and their lanes set, to leave the planner no choice.
PLAN_ONCE = (
    "SET plan_cache_mode = force_generic_plan",
    "SET enable_sort = off",
    "SET enable_bitmapscan = off",
    "SET enable_mergejoin = off",
)
INSERT_ONCE = ("SET plan_cache_mode = force_generic_plan", "SET enable_nestloop = off", "SET enable_mergejoin = off")
"""For inserting, whose statement reads nothing of the table, and joins arrays of any length."""

# Behind a transaction pooler a SET would leak to whoever gets the server's connection next, and a statement is prepared
# on one connection and executed on another, unless both are in one transaction.
BEGIN = (
    "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL plan_cache_mode = force_custom_plan; "
    "SET LOCAL enable_seqscan = off; SET LOCAL jit = off; SET LOCAL TimeZone = 'UTC'"
)
_POOLED = "oban_sqla_pooled"

# SQLSTATE classes that speak of the server or the connection, not of what was sent.
_LOST = ("08", "57P")
_UNSUITABLE = ("21", "22", "23", "54", "P0")
"""A value that is wrong, too large, against a constraint, or that a trigger of the user's refuses."""

T = TypeVar("T")
Prepare = Callable[[Any], Awaitable[None]]


class StatementFailed(OSError):
    """A statement failed on a lane.

    :ivar sqlstate: what PostgreSQL said; None when it did not get to say anything.
    :ivar unknown: the connection was lost on the way: the statement may or may not have been committed.
    """

    def __init__(self, statement: str, cause: BaseException, sqlstate: str | None, unknown: bool) -> None:
        said = cause.orig if isinstance(cause, DBAPIError) and cause.orig is not None else cause  # not the whole SQL
        super().__init__(f"{statement}: {type(said).__name__}: {said}")
        self.sqlstate = sqlstate
        self.unknown = unknown

    @property
    def is_data_error(self) -> bool:
        """Whether it is some value's fault, so that trying the same again can't help."""
        return self.sqlstate is not None and self.sqlstate.startswith(_UNSUITABLE)


class Lane:
    """One connection, used by one statement at a time.

    :param engine: what :func:`twin` gives.
    :param name: for messages.
    :param prepare: called with the driver's own connection, on every new one.
    :param timeout: seconds that a statement may take; after them the connection is given up.
    :param plans: :data:`PLAN_ALWAYS`, or :data:`PLAN_ONCE` for statements that have one plan only.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        name: str,
        prepare: Prepare | None = None,
        timeout: float = STATEMENT_TIMEOUT,
        plans: tuple[str, ...] = PLAN_ALWAYS,
    ) -> None:
        self.name = name
        self.connections = 0
        """How many connections it has had; a change means that something may have been missed."""
        self.answered_at = 0.0
        """When, by the monotonic clock, the server last answered."""
        self._engine = engine
        self._schemas = engine.get_execution_options().get("schema_translate_map")
        self._prepare = prepare
        self._timeout = timeout
        self._watchdog = Watchdog(timeout, lambda: _cut(self._driver))
        # Nobody waits for it any more then; without this a slow server would be given the same again and again.
        self._settings = (*SETTINGS, *plans, f"SET statement_timeout = '{timeout + SERVERS_PATIENCE:g}s'")
        self._attempts = 0
        self._refusal: tuple[int, StatementFailed] | None = None
        self._connection: AsyncConnection | None = None
        self._asyncpg: asyncpg.Connection[asyncpg.Record] | None = None
        self._driver: Any = None
        self._is_pooled = False
        self._compiled: dict[Statement, Compiled] = {}
        self._lock = asyncio.Lock()
        self._under_way: set[asyncio.Task[Any]] = set()

    @property
    def pooled(self) -> bool:
        """Whether the node connects through a transaction pooler; see :func:`mark_pooled`."""
        return bool(self._engine.sync_engine.get_execution_options().get(_POOLED))

    async def run(self, statement: Statement, /, **parameters: Any) -> Sequence[Any]:
        """Execute `statement` in its own transaction, connecting first if need be.

        A caller that is cancelled leaves; the statement itself runs to its end, because cancelling it midway could
        leak the connection with its locks.

        :returns: the rows, as tuples.
        :raises StatementFailed: also after the timeout, which closes the connection.
        """
        rows: Sequence[Any] = await self._shielded(self.run_unshielded(statement, **parameters))
        return rows

    async def connect(self) -> None:
        """Connect if there is no connection.

        :raises StatementFailed: when that fails, or takes longer than :data:`CONNECT_TIMEOUT`.
        """
        await self._shielded(self._locked_connect())

    async def close(self) -> None:
        """Wait for the statement under way, and close the connection."""
        if self._under_way:
            await asyncio.wait(self._under_way)
        async with self._lock:
            self._watchdog.close()
            await self._drop(politely=True)

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

    async def _shielded(self, work: Any) -> Any:
        task: asyncio.Task[Any] = asyncio.ensure_future(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            # Nobody is left to take its exception.
            task.add_done_callback(_take_exception)
            raise

    async def run_unshielded(self, statement: Statement, /, **parameters: Any) -> Sequence[Any]:
        """As :meth:`run`, for a caller that is never cancelled: the task of a :class:`Loop`. Saves creating a task."""
        asked = self._attempts
        async with self._lock:
            connection = await self._connected(asked)
            try:
                if self._is_pooled:
                    rows = await self._within(self._timeout, self._run_pooled(connection, statement, parameters))
                elif (driver := self._asyncpg) is not None:
                    compiled = self._compiled.get(statement) or self._compile(statement)
                    self._watchdog.begin()
                    rows = await driver.fetch(compiled.sql, *compiled.values(parameters))
                    self._watchdog.done()
                else:
                    rows = await self._within(self._timeout, connection.run_sync(_execute, statement, parameters))
            except Exception as error:
                self._watchdog.done()
                late = TimeoutError(f"no answer within {self._timeout:g} s") if self._watchdog.has_bitten else None
                raise await self._failed(statement.name, late or error) from error
            self.answered_at = time.monotonic()
            return rows

    async def _run_pooled(
        self, connection: AsyncConnection, statement: Statement, parameters: dict[str, Any]
    ) -> Sequence[Any]:
        await self._command(BEGIN)
        try:
            if (driver := self._asyncpg) is not None:
                compiled = self._compiled.get(statement) or self._compile(statement)
                # Without a name nothing of it stays on the server's connection, nor in the driver's cache.
                prepared = await driver.prepare(compiled.sql, name="")
                rows: Sequence[Any] = await prepared.fetch(*compiled.values(parameters))
            else:
                rows = await connection.run_sync(_execute, statement, parameters)
        except Exception as error:
            if _sqlstate(error) is not None or _is_unsent(error):
                await self._command("ROLLBACK")
            raise
        await self._command("COMMIT")
        return rows

    async def _command(self, command: str) -> None:
        await (self._asyncpg or self._driver).execute(command)

    def _compile(self, statement: Statement) -> Compiled:
        compiled = self._compiled[statement] = statement.compiled(self._engine.dialect, self._schemas)
        return compiled

    async def _locked_connect(self) -> None:
        asked = self._attempts
        async with self._lock:
            await self._connected(asked)

    async def _connected(self, asked: int) -> AsyncConnection:
        """The connection; `asked` is how many attempts had begun when the caller came."""
        if self._connection is not None and not (self._asyncpg is not None and self._asyncpg.is_closed()):
            return self._connection
        if self._refusal is not None and self._refusal[0] > asked:
            # An attempt that began after the caller came has failed: a queue of callers that each wait for an attempt
            # of their own would still be failing long after the server is back.
            raise self._refusal[1]
        await self._drop()
        self._attempts += 1
        try:
            connection = self._connection = await self._within(CONNECT_TIMEOUT, self._engine.connect())
            await self._within(CONNECT_TIMEOUT, self._set_up(connection))
            return connection
        except Exception as error:
            await self._drop()
            refusal = StatementFailed(f"connecting ({self.name})", error, _sqlstate(error), unknown=False)
            self._refusal = (self._attempts, refusal)
            raise refusal from error

    async def _set_up(self, connection: AsyncConnection) -> None:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        driver: Any = (await connection.get_raw_connection()).driver_connection
        self._driver = driver
        if connection.sync_connection is not None:
            connection.sync_connection.detach()
        pooled = self._is_pooled = self.pooled
        for setting in () if pooled else self._settings:
            await connection.execute(text(setting))
        if pooled and not isinstance(driver, asyncpg.Connection):
            driver.prepare_threshold = None  # psycopg: prepare nothing by a name
        if isinstance(driver, asyncpg.Connection):
            self._asyncpg = driver
        self.connections += 1
        if self._prepare is not None and not pooled:
            await self._prepare(driver)

    async def _within(self, seconds: float, work: Awaitable[T]) -> T:
        """What `work` returns, unless it takes longer.

        Drivers answer a cancellation by asking the server to cancel, or by closing politely, and wait for its answer,
        which may never come. So the line is cut first, and what waits on it fails by itself; and what does not end even
        then is left to itself.
        """
        task = asyncio.ensure_future(work)
        await asyncio.wait([task], timeout=seconds)
        if task.done():
            return task.result()
        task.add_done_callback(_take_exception)
        if self._driver is not None:
            _cut(self._driver)
            await asyncio.wait([task], timeout=LAST_MOMENT)
        if not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=LAST_MOMENT)
        raise TimeoutError(f"no answer within {seconds:g} s")

    async def _failed(self, what: str, error: Exception) -> StatementFailed:
        """The failure to raise for `error`; gives the connection up unless the server answered on it."""
        sqlstate = _sqlstate(error)
        if sqlstate is None and _is_unsent(error):
            sqlstate = "22000"
        lost = sqlstate is None or sqlstate.startswith(_LOST) or sqlstate == "25P03"
        if lost:
            await self._drop()
        return StatementFailed(what, error, sqlstate, unknown=lost)

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


def twin(engine: AsyncEngine) -> AsyncEngine:
    """An engine that connects like `engine`, with its own pool."""
    sync = engine.sync_engine
    copy = Engine(sync.pool.recreate(), sync.dialect, sync.url, hide_parameters=True)
    return AsyncEngine(copy).execution_options(**sync.get_execution_options())


def mark_pooled(engine: AsyncEngine) -> None:
    """From now on the lanes of `engine`, a :func:`twin`, know that they are behind a transaction pooler."""
    engine.sync_engine.update_execution_options(**{_POOLED: True})


def _sqlstate(error: BaseException) -> str | None:
    cause = error.orig if isinstance(error, DBAPIError) else error
    value = getattr(cause, "sqlstate", None) or getattr(getattr(cause, "__cause__", None), "sqlstate", None)
    return value if isinstance(value, str) else None


def _is_unsent(error: BaseException) -> bool:
    """Whether the driver could not encode a parameter, so that nothing reached the server."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return isinstance(cause, UnicodeError | OverflowError | asyncpg.DataError)


def _cut(driver: Any) -> None:
    if isinstance(driver, asyncpg.Connection):
        driver.terminate()
        return
    # A duplicate, because the descriptor itself is psycopg's to close.
    with contextlib.suppress(Exception), socket.socket(fileno=os.dup(driver.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)


def _take_exception(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()


async def _quietly(work: Awaitable[None]) -> None:
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            await work
    except Exception:
        return
