"""A node's signs of life: one statement for all its producers, every few seconds."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from ..config import Heartbeat
from ..statements.cluster import beat, retire
from .lanes import Lane
from .loop import Loop
from .producer import Producer


class Liveness(Loop):
    """Keeps the rows of the node's producers, and by the way checks the connection that listens."""

    name = "heartbeat"

    def __init__(
        self, lane: Lane, name: str, node: str, producers: Callable[[], Sequence[Producer]], heartbeat: Heartbeat
    ) -> None:
        super().__init__()
        self._lane = lane
        self._instance = name
        self._node = node
        self._producers = producers
        self._heartbeat = heartbeat

    async def step(self) -> float | None:
        producers = self._producers()
        metas = [
            json.dumps({"local_limit": producer.limit, "paused": producer.paused, "running": len(producer.running)})
            for producer in producers
        ]
        await self._lane.run(
            beat,
            uuids=[producer.key for producer in producers],
            queues=[producer.queue for producer in producers],
            metas=metas,
            name=self._instance,
            node=self._node,
        )
        return self._heartbeat.interval

    async def retire(self, producers: Sequence[Producer]) -> None:
        """Take the rows of producers that have stopped away."""
        if producers:
            await self._lane.run(retire, uuids=[producer.key for producer in producers])
