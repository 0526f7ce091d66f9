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
"""Most connections per event loop."""
SHARED = 1.0
"""Seconds for which requests for the same share an answer."""
MOST_ANSWERS = 500
"""Answers that are kept; then those that are too old are dropped."""
PATIENCE = 2.0
"""Seconds that a statement of a page may take."""
LONGEST_READ = 15.0
"""Seconds after which the connection of a page that reads is cut: a server that is silent would block it for ever."""
LONGEST_CHANGE = 60.0
"""Seconds after which the connection of a change, or of the doctor, is cut."""
LONGEST_END = 5.0
"""Seconds that the end of the event loop waits for reads under way."""

_used: ContextVar[dict[Any, Any] | None] = ContextVar("oban_sqla_dashboard_connections", default=None)
"""The driver's connections that this context uses, by their entries in the pool."""


class Instance:
    """An instance of Oban that the dashboard shows.

    :param given: what the user gave: an Oban, started or not, or an engine.
    """

    def __init__(self, given: Oban | AsyncEngine) -> None:
        self._engine = given.engine if isinstance(given, Oban) else checked_engine(given)
        self.name = given.config.name if isinstance(given, Oban) else "Oban"
        self.heartbeat = given.config.heartbeat if isinstance(given, Oban) else Heartbeat()
        self._config = given.config if isinstance(given, Oban) else None
        # By event loop, because each has its own connections: written by here() and close().
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
    """When the answer was ready; None before."""

    def is_fresh(self, now: float, seconds: float) -> bool:
        """Whether the answer was asked for within `seconds`. One that took longer is shared for a moment, too."""
        if self.made_at is None:
            return True
        return now < max(self.asked_at + seconds, self.made_at + min(seconds, SHARED))


class Place:
    """An instance as seen from one event loop.

    :param engine: the user's; connections are made in the same way as its own.
    :param name: of the instance.
    :param heartbeat: of the nodes.
    :param config: the options of the nodes; None when only the engine is known.
    """

    def __init__(self, engine: AsyncEngine, name: str, heartbeat: Heartbeat, config: Config | None) -> None:
        self._line = Line(engine)
        self._room = asyncio.Semaphore(CONNECTIONS)
        # For each entry of the pool that is in use, the dict of its context, see _used: written by _took() and
        # _gave_back().
        self._users: dict[Any, dict[Any, Any]] = {}
        pool = self._line.engine.sync_engine.pool
        event.listen(pool, "checkout", self._took)
        event.listen(pool, "checkin", self._gave_back)
        # The answers, ready or under way, by key: written by answer() and forget().
        self._answers: dict[Hashable, _Answer] = {}
        # The tasks that are making an answer: written by answer().
        self._under_way: set[asyncio.Task[Any]] = set()
        self.name = name
        self.heartbeat = heartbeat
        encryption = None if config is None else config.encryption
        self.oban = Oban(self._line.engine, name=name, heartbeat=heartbeat, encryption=encryption)
        """Makes the changes. This Oban is never started."""
        self.config = self.oban.config if config is None else config
        """The options of the nodes; the defaults when they are not known."""
        self._guard = self._until_the_end()

    @property
    def engine(self) -> AsyncEngine:
        """The engine of this place; use it inside :meth:`connection`."""
        return self._line.engine

    @asynccontextmanager
    async def connection(self, longest: float | None = None) -> AsyncGenerator[None]:
        """Wait until one more connection may be used. It is cut if it is used for too long.

        :param longest: seconds. Default: :data:`LONGEST_CHANGE`.
        :raises OSError: when the server does not answer in that time.
        :raises DBAPIError: when the server refuses the connection.
        """
        longest = LONGEST_CHANGE if longest is None else longest
        async with self._room:
            used: dict[Any, Any] = {}
            token = _used.set(used)
            # Cut the connection before the timeout cancels: on a cancellation drivers ask the server, which is silent.
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
        # A request that is cancelled does not cancel the answer for the others.
        return await asyncio.shield(found.task)

    def forget(self) -> None:
        """Drop all answers, because something was changed."""
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
        """Arrange that the connections are closed when the loop ends: it then closes its asynchronous generators."""
        await anext(self._guard)

    async def close(self) -> None:
        """Close the connections."""
        await self._guard.aclose()

    async def _until_the_end(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            # A read that is still under way at the end of its loop would leave its transaction open.
            if self._under_way:
                await asyncio.wait(self._under_way, timeout=LONGEST_END)
            await self._line.close()


def _cut(used: dict[Any, Any]) -> None:
    for driver in used.values():
        cut(driver)


async def _awaited(make: Callable[[], Awaitable[T]]) -> T:
    return await make()
