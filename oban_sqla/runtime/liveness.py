"""A node's signs of life: one statement for all its producers, every few seconds."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import InvalidOption
from ..outcomes import seconds
from ..statements.cluster import beat, retire
from .lanes import Lane
from .loop import Loop
from .producer import Producer


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """How a node shows that it is alive.

    :param interval: seconds from one sign to the next, more than 0. Default 5.
    :raises InvalidOption: for an interval that is not above 0.
    """

    interval: float = 5.0

    def __post_init__(self) -> None:
        if not seconds(self.interval, "Heartbeat(interval)") > 0:
            raise InvalidOption(f"Heartbeat: the interval is seconds above 0, got {self.interval!r}")


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
