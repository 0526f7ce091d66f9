"""The end of a node: what is stopped when, and what goes on when a job does not stop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..telemetry import node_logger as logger
from ..telemetry.words import counted_jobs
from .acks import Ack
from .attempt import Attempt
from .farewell import told
from .lanes.failure import StatementFailed
from .verdict import given_back

if TYPE_CHECKING:
    from .node import Node

LAST_ACKS = 5.0
"""Seconds that stopping waits for the database to take the last acks."""


class Ending:
    """Stops the loops of a node in order, and outlasts it while jobs of it run in threads.

    :param node: a started node that commits no longer wake.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        # Written by run(), when something is left.
        self._outlasting: asyncio.Task[None] | None = None

    async def run(self, grace: float) -> list[Ack]:
        """See :meth:`Node.stop`."""
        node = self._node
        began = time.monotonic()
        leaving = asyncio.create_task(self._leave(), name="oban_sqla leaving")
        async with told(lambda: [run for each in node.producers.values() for run in each.running.values()], grace):
            await asyncio.wait([leaving], timeout=grace)
            left = await node.producers.finish(max(grace - (time.monotonic() - began), 0.0))
        with node.connections.while_it_answers():
            await leaving
            await self._send_last_acks()
            await node.inserts.stop()
            await node.signals.stop()
            await _all(
                loop.stop()
                for loop in (*node.duties, node.measures, node.releaser, node.waiter, node.announcer, node.notifier)
            )
            if not (left or node.acks.unsent):
                await self._part()
                return []
        for attempt in left:
            row = attempt.row
            logger.error("job %d (%s) did not stop", row.id, row.worker, extra=row.log_extra)
        if unsent := node.acks.unsent:
            logger.error(
                "the outcomes of %s could not be written (a lock, or the database is away): %s; "
                "this node tries on while its process lives",
                counted_jobs(len(unsent)), [ack.id for ack in unsent[:10]],
            )  # fmt: skip
        # Their jobs must not be run beside them: the node keeps its heartbeat until they have ended, too.
        self._outlasting = asyncio.create_task(self._outlast(left), name="oban_sqla outlasting")
        return [*(given_back(attempt.row) for attempt in left), *unsent]

    async def _leave(self) -> None:
        node = self._node
        await node.control.stop()
        await _all([*(producer.stop_fetching() for producer in node.producers.values()), self._hand_over()])

    async def _outlast(self, left: Iterable[Attempt]) -> None:
        node = self._node
        for loop in (node.liveness, node.acks, node.scribe):
            loop.may_end = True  # with the event loop, of which is told below
        running = {attempt.task: attempt.row.id for attempt in left if attempt.task is not None}
        try:
            if running:
                await asyncio.wait(running)
            while len(node.acks):
                await self._send_last_acks()
        except asyncio.CancelledError:
            ids = [*(job_id for task, job_id in running.items() if not task.done()), *(a.id for a in node.acks.unsent)]
            logger.error(
                "the event loop ends before %s, whose outcomes can't be written any more: %s; they are rescued "
                "when this node is dead, and run again", counted_jobs(len(ids)), ids[:10],
            )  # fmt: skip
            raise
        finally:
            await self._part()

    async def _part(self) -> None:
        node = self._node
        await _all(loop.stop() for loop in (node.liveness, node.acks, node.scribe))
        # Of the jobs that were given back or have ended last: else other nodes would find them with their next poll.
        for loop in (node.releaser, node.waiter, node.announcer):
            await _all([loop.last()])
        try:
            await node.producers.retire()
        except StatementFailed as error:
            logger.warning("could not delete the rows of the stopped producers, which stay until stale: %s", error)
        await node.close()

    async def _send_last_acks(self) -> None:
        node = self._node
        deadline = time.monotonic() + LAST_ACKS
        while len(node.acks) and time.monotonic() < deadline and not node.connections.acking.is_given_up:
            if not node.acks.is_alive:  # cancelled with all other tasks of the process
                node.acks.start()
            node.acks.wake()
            await asyncio.sleep(0.01)

    async def _hand_over(self) -> None:
        """A successor leads from now on, not when the last job here has ended."""
        node = self._node
        await node.leadership.stop()
        await node.leadership.resign()


async def _all(work: Iterable[Any]) -> None:
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    log_errors(outcome for outcome in outcomes if isinstance(outcome, BaseException))


def log_errors(errors: Iterable[BaseException]) -> None:
    """Say that these did not keep the node from stopping."""
    for error in errors:
        logger.warning("error while stopping: %s: %s", type(error).__name__, error)
