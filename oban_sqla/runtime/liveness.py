"""A node's heartbeat: one statement for all its producers, every few seconds, and a lock for each.

The heartbeat says when the node last worked, the lock whether its connection stands. Either alone would lie: a job that
blocks the event loop silences a node that is alive, and a crash of the server, or a pooler, takes its locks. The
lifeline calls a producer dead when both are gone.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from uuid import UUID

from ..options.heartbeat import Heartbeat
from ..statements.cluster import beat, claim, lock_key, retire, unlock
from ..telemetry import node_logger as logger
from .lanes.failure import StatementFailed
from .lanes.lane import Lane
from .loop import Loop
from .producer import Producer

MOST_WAITING = 100
"""Jobs that a heartbeat names because they wait for a child."""
MOMENT = 1.0
"""Seconds, at most, that a heartbeat waits for the locks: on a slow line it may take ten to connect in vain."""


class Liveness(Loop):
    """Keeps the rows and the locks of the node's producers.

    :param lane: where heartbeats go; one that gives a slow server as much time as the lifeline gives this node.
    :param listening: the listening connection; its session holds the locks.
    :param name: of the instance.
    :param node: the node's name.
    :param heartbeat: how often, and after what time without it the node counts as dead.
    :param producers: gives the producers that run now.
    """

    name = "heartbeat"

    def __init__(
        self,
        *,
        lane: Lane,
        listening: Lane,
        name: str,
        node: str,
        heartbeat: Heartbeat,
        producers: Callable[[], Sequence[Producer]],
    ) -> None:
        super().__init__()
        self.longest_retry = heartbeat.interval / 2  # back soon after an outage, or it would look like a death
        # Given, and never written again.
        self._lane = lane
        self._listening = listening
        self._instance = name
        self._node = node
        self._heartbeat = heartbeat
        self._producers = producers
        # The keys of the producers that are locked, and on which connection: written by _lock().
        self._connection = 0
        self._locked: set[str] = set()
        # Held from the beginning of _lock() to its end, also where nothing waits for that any more.
        self._lock_order = asyncio.Lock()
        # The last call of _lock(): written by _lock_soon().
        self._locking: asyncio.Task[None] | None = None

    async def stop(self) -> None:
        await super().stop()
        if self._locking is not None:
            self._locking.cancel()
            await asyncio.wait([self._locking])

    async def step(self) -> float | None:
        if self._producers():
            await self._lock_soon()
            producers = self._producers()  # one that ended meanwhile must not get its row back
            await self._lane.run(
                beat,
                uuids=[producer.key for producer in producers],
                queues=[producer.queue for producer in producers],
                metas=[json.dumps(self._meta(producer)) for producer in producers],
                name=self._instance,
                node=self._node,
            )
        return self._heartbeat.interval

    async def retire(self, producers: Sequence[Producer]) -> None:
        """Take the rows of producers that have stopped away."""
        if producers:
            await self._lane.run(retire, uuids=[producer.key for producer in producers])

    async def _lock_soon(self) -> None:
        """Take the locks, or go on after a moment: without a lock the heartbeat counts alone, and must not wait."""
        try:
            async with asyncio.timeout(min(MOMENT, self._heartbeat.stale_after / 4)):
                # One after the other: what has begun already may not know of a queue that starts now.
                await self._lock_order.acquire()
                self._locking = asyncio.create_task(self._lock())
                self._locking.add_done_callback(lambda _: self._lock_order.release())
                await asyncio.shield(self._locking)
        except TimeoutError:
            pass  # it goes on
        except StatementFailed as error:
            logger.debug("the locks of the producers could not be taken: %s", error)

    async def _lock(self) -> None:
        """Lock what is not locked on the connection as it is now, and unlock what has ended.

        The connection of a transaction pooler keeps no locks.
        """
        listening = self._listening
        # psycopg keeps the connection while it hears: a heartbeat that has nothing to lock must not wait for that.
        heard = listening.is_busy and listening.driver is not None and listening.connections == self._connection
        if heard and not (self._unlocked or self._ended):
            return
        await listening.connect()
        if listening.connections != self._connection:
            self._connection, self._locked = listening.connections, set()
        if (missing := self._unlocked) and not listening.pooled:
            rows = await listening.run(claim, keys=[str(key) for key in missing])
            self._locked |= {missing[row[1]] for row in rows if row[0]}
        # A server has room for some thousand locks, and a node may start and stop queues for months.
        if ended := self._ended:
            await listening.run(unlock, keys=[str(lock_key(UUID(key))) for key in ended])
            self._locked -= ended

    @property
    def _stands(self) -> bool:
        """Whether the connection with the locks has not been lost."""
        return self._listening.driver is not None and self._listening.connections == self._connection

    @property
    def _unlocked(self) -> dict[int, str]:
        """The keys of the producers that have no lock, by their locks'."""
        producers = self._producers()
        return {lock_key(producer.uuid): producer.key for producer in producers if producer.key not in self._locked}

    @property
    def _ended(self) -> set[str]:
        """The keys of those that have a lock, and run no more."""
        return self._locked - {producer.key for producer in self._producers()}

    def _meta(self, producer: Producer) -> dict[str, object]:
        meta: dict[str, object] = {
            "local_limit": producer.limit,
            "paused": producer.paused,
            **producer.options.limits,
            "running": len(producer.running),
            "locked": self._stands and producer.key in self._locked,
            "stale_after": self._heartbeat.stale_after,
        }
        if waiting := [job_id for job_id, attempt in producer.running.items() if not attempt.begun]:
            meta["waiting"] = waiting[:MOST_WAITING]  # they are executing for the cluster, and wait for a child
        if out := producer.slots.out:
            meta["without_slot"] = sorted(out)[:MOST_WAITING]  # they are executing, and don't count in the limit
        return meta
