"""Waiting until a node has nothing to do: for scripts, and for programs that are started by a timer."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection

from ..errors import ObanError
from ..runtime.node import Node
from ..runtime.producer import Producer
from ..statements.stage import has_work
from ..workers.context import running
from .engines import Engines
from .reading import read_again

INTERVAL = 0.2
"""Seconds between two looks, of which those at the memory of a busy node send no SQL."""


async def until_empty(engines: Engines, node_now: Callable[[], Node | None]) -> None:
    """See :meth:`Oban.until_empty`."""
    if running.get(None) is not None:
        raise ObanError("until_empty: a job can't wait until no job runs; call it outside of jobs")
    if (node := node_now()) is None:
        raise ObanError("until_empty: this node is not started; await oban.start() first")
    while not _has_looked(node) or await _has_work(engines, node.producers.values()):
        await asyncio.sleep(INTERVAL)
        if node_now() is not node:
            raise ObanError("until_empty: this node was stopped before its queues were empty")


def _has_looked(node: Node) -> bool:
    """Whether a leader has rescued what an earlier node has left, and enqueued the cron jobs that it has missed."""
    return not node.leadership.leads or (node.lifeline.has_led and node.scheduler.has_led)


async def _has_work(engines: Engines, producers: Collection[Producer]) -> bool:
    if any(producer.running for producer in producers):
        return True
    given = {
        "queues": [producer.queue for producer in producers if not producer.paused],
        "uuids": [producer.key for producer in producers],
    }
    async with engines.here() as engine:
        # However long the database is away: the node waits for it, too.
        return await read_again(
            engine, lambda plain: bool(has_work.execute(plain, **given).scalar_one()), "until_empty", math.inf
        )
