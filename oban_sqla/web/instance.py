"""An instance that the dashboard shows, and its connections: at most three per event loop, closed with the loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import asyncpg
from sqlalchemy import Connection, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from ..oban import Oban
from ..options.heartbeat import Heartbeat
from ..runtime.config import Config, checked_engine
from ..runtime.lanes.driver import cut
from ..runtime.lanes.line import Line
from ..runtime.lanes.watchdog import LAST_MOMENT
from ..statements.glance import bounded_reads

T = TypeVar("T")

CONNECTIONS = 3
"""At most so many are open per event loop."""
SHARED = 1.0
"""Seconds for which an answer is given to everyone who asks the same."""
MOST_ANSWERS = 500
PATIENCE = 2.0
"""Seconds that a statement of a page may take."""
LONGEST_READ = 15.0
"""Seconds after which a connection is cut on which a page reads: a silent server would keep one of the three."""
LONGEST_CHANGE = 60.0
"""The same of one on which something is changed, or examined."""
LONGEST_END = 5.0
"""Seconds that the end waits for what is being read."""

_used: ContextVar[dict[Any, Any] | None] = ContextVar("oban_sqla_dashboard_connections", default=None)
"""The driver's connections, by the pool's entries, of what is done in this context."""


class Instance:
    """An instance of Oban that the dashboard shows.

    :param given: the user's: an Oban, started or not, or an engine.
    """

    def __init__(self, given: Oban | AsyncEngine) -> None:
        self._engine = given.engine if isinstance(given, Oban) else checked_engine(given)
        self.name = given.config.name if isinstance(given, Oban) else "Oban"
        self.heartbeat = given.config.heartbeat if isinstance(given, Oban) else Heartbeat()
        self._config = given.config if isinstance(given, Oban) else None
        # By the event loop, of which each has its own connections: written by here() and close().
        self._places: WeakKeyDictionary[asyncio.AbstractEventLoop, Place] = WeakKeyDictionary()

    async def here(self) -> Place:
        """The connections and answers for the running loop."""
        loop = asyncio.get_running_loop()
        if (place := self._places.get(loop)) is None:
            place = self._places[loop] = Place(self._engine, self.name, self.heartbeat, self._config)
            await place.close_with_loop()
        return place

    async def close(self) -> None:
        """Close the connections of the running loop."""
        if (place := self._places.pop(asyncio.get_running_loop(), None)) is not None:
            await place.close()


@dataclass(slots=True)
class _Answer:
    task: asyncio.Task[Any]
    asked_at: float
    seconds: float
    made_at: float | None = None
    """When it was there; None as long as it is not."""

    def is_fresh(self, now: float, seconds: float) -> bool:
        """Whether it was asked for within so many seconds. One that took long is shared for a moment, too."""
        if self.made_at is None:
            return True
        return now < max(self.asked_at + seconds, self.made_at + min(seconds, SHARED))


class Place:
    """An instance as seen from one event loop.

    :param engine: the user's; connections are made like it makes them.
    """

    def __init__(self, engine: AsyncEngine, name: str, heartbeat: Heartbeat, config: Config | None) -> None:
        self._line = Line(engine)
        self._room = asyncio.Semaphore(CONNECTIONS)
        # By the pool's entries that are in use, what their user has, see _used: written by _took() and _gave_back().
        self._users: dict[Any, dict[Any, Any]] = {}
        pool = self._line.engine.sync_engine.pool
        event.listen(pool, "checkout", self._took)
        event.listen(pool, "checkin", self._gave_back)
        # Answers, and what makes them, by what was asked: written by answer() and forget().
        self._answers: dict[Hashable, _Answer] = {}
        # What makes them, while it does: written by answer().
        self._under_way: set[asyncio.Task[Any]] = set()
        self.name = name
        self.heartbeat = heartbeat
        encryption = None if config is None else config.encryption
        self.oban = Oban(self._line.engine, name=name, heartbeat=heartbeat, encryption=encryption)
        """Makes the changes. It is never started."""
        self.config = self.oban.config if config is None else config
        """The options of the nodes, as far as they are known."""
        self._guard = self._until_the_end()

    @property
    def engine(self) -> AsyncEngine:
        """Its own engine; use it inside :meth:`connection`."""
        return self._line.engine

    @asynccontextmanager
    async def connection(self, longest: float | None = None) -> AsyncGenerator[None]:
        """Room for one more connection, which is cut if it is used for too long.

        :param longest: seconds. Default: :data:`LONGEST_CHANGE`.
        :raises OSError: when nothing answers for so long.
        :raises DBAPIError: when the server refuses the connection, whatever version of SQLAlchemy says so.
        """
        longest = LONGEST_CHANGE if longest is None else longest
        async with self._room:
            used: dict[Any, Any] = {}
            token = _used.set(used)
            # Cut first: drivers answer a cancellation by asking the server, which says nothing.
            timer = asyncio.get_running_loop().call_later(longest, _cut, used)
            try:
                async with asyncio.timeout(longest + LAST_MOMENT):
                    yield
            except asyncpg.PostgresError as error:  # SQLAlchemy 2.0 leaves what is raised while connecting as it is
                raise DBAPIError(None, None, error) from error
            finally:
                timer.cancel()
                _used.reset(token)

    def _took(self, _connection: object, entry: Any, _proxy: object) -> None:
        if (used := _used.get()) is not None:
            used[entry] = entry.driver_connection
            self._users[entry] = used

    def _gave_back(self, _connection: object, entry: Any) -> None:
        if (used := self._users.pop(entry, None)) is not None:
            del used[entry]

    async def read(self, work: Callable[[Connection], T], patience: float = PATIENCE) -> T:
        """What `work` reads, in one transaction that can't write.

        :param patience: seconds that a statement may take.
        """

        def bounded(connection: Connection) -> T:
            bounded_reads.execute(connection, limit=f"{round(patience * 1_000)}ms")
            return work(connection)

        async with self.connection(LONGEST_READ), self.engine.connect() as connection:
            try:
                return await connection.run_sync(bounded)
            finally:
                await connection.rollback()

    async def answer(self, key: Hashable, make: Callable[[], Awaitable[T]], seconds: float = SHARED) -> T:
        """What `make` returns, or what it returned to another caller with this `key` within `seconds`."""
        now = time.monotonic()
        found = self._answers.get(key)
        if found is None or not found.is_fresh(now, seconds):
            found = self._answers[key] = _Answer(asyncio.ensure_future(_awaited(make)), now, seconds)
            self._under_way.add(found.task)
            found.task.add_done_callback(lambda task: self._done(key, task))
            self._forget(now)
        # One who leaves does not take the answer from the others.
        return await asyncio.shield(found.task)

    def forget(self) -> None:
        """Something was changed: answer anew."""
        self._answers.clear()

    def _done(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        found = self._answers.get(key)
        if found is not None and found.task is task:
            found.made_at = time.monotonic()
            if task.cancelled() or task.exception() is not None:
                del self._answers[key]

    def _forget(self, now: float) -> None:
        if len(self._answers) <= MOST_ANSWERS:
            return
        stale = [key for key, one in self._answers.items() if not one.is_fresh(now, one.seconds)]
        for key in stale or [next(iter(self._answers))]:
            del self._answers[key]

    async def close_with_loop(self) -> None:
        """Close the connections when the loop ends, which ends its asynchronous generators."""
        await anext(self._guard)

    async def close(self) -> None:
        """Close the connections."""
        await self._guard.aclose()

    async def _until_the_end(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            # A reading that outlives its loop would leave its transaction open.
            if self._under_way:
                await asyncio.wait(self._under_way, timeout=LONGEST_END)
            await self._line.close()


def _cut(used: dict[Any, Any]) -> None:
    for driver in used.values():
        cut(driver)


async def _awaited(make: Callable[[], Awaitable[T]]) -> T:
    return await make()
