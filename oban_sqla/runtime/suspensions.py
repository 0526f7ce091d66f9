"""Suspending a queue or a partition, as a job asks that has met a limit of another system."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

from .. import telemetry
from ..statements.limiter import suspend_own
from ..statements.notify import notify_at_once
from ..statements.wire import ident, signal_channel
from .acks import Ack
from .lanes.failure import StatementFailed
from .lanes.lane import Lane

FIRST_WAIT = 0.2
LONGEST_WAIT = 1.6
"""Seconds between two tries to write a suspension; doubled each time up to the second."""


class Suspensions:
    """Writes suspensions, and tells the other nodes.

    :param lane: the connection to write on.
    :param schema: where the tables live; the channel of signals is named by it.
    :param notifies: whether to tell the other nodes; else they find out by themselves.
    :param suspended: called with a queue that is suspended as a whole, and for how many seconds.
    """

    def __init__(
        self, *, lane: Lane, schema: str | None, notifies: bool, suspended: Callable[[str, float], None]
    ) -> None:
        # Given, and never written again.
        self._lane = lane
        self._channel = signal_channel(schema)
        self._notifies = notifies
        self._suspended = suspended

    async def write(self, ack: Ack, stopping: Callable[[], bool]) -> None:
        """Suspend what `ack` asks for. The job is acknowledged afterwards, whether or not the database has taken it.

        While the database is away it is tried again until the suspension would be over.

        :param stopping: says whether the queue is being stopped, which waits for this.
        """
        began, wait = time.monotonic(), FIRST_WAIT
        delay = ack.delay or 0.0
        given: dict[str, Any] = {"id": ack.id, "whole": ack.suspend == "queue"}
        while True:
            left = delay - (time.monotonic() - began)
            try:
                [(key, seconds)] = await self._lane.run(suspend_own, queue=ack.queue, seconds=max(left, 0.0), **given)
                break
            except StatementFailed as error:
                goes_on = error.is_of_server and left > 0 and not stopping() and not self._lane.is_given_up
                if wait > LONGEST_WAIT and not goes_on:
                    telemetry.queue_logger.error(
                        "queue %r could not be suspended for %g s: %s", ack.queue, ack.delay, error
                    )
                    return
                if wait == FIRST_WAIT:
                    telemetry.queue_logger.warning(
                        "queue %r is not suspended for %g s yet, as job %d asks; trying again: %s",
                        ack.queue, ack.delay, ack.id, error,
                    )  # fmt: skip
            await asyncio.sleep(min(wait, LONGEST_WAIT))
            wait *= 2
        report(ack.queue, key, seconds)
        if key:
            return
        self._suspended(ack.queue, seconds)
        if self._notifies:
            await self._notify(ack.queue)

    async def _notify(self, queue: str) -> None:
        payload = json.dumps({"action": "suspend", "queue": queue, "ident": ident("", None)})
        try:
            await self._lane.run(notify_at_once, channels=[self._channel], payloads=[payload])
        except StatementFailed as error:
            telemetry.queue_logger.warning("could not notify the other nodes of a suspended queue: %s", error)


def report(queue: str, key: str, seconds: float) -> None:
    """A queue was suspended, or with a `key` one of its partitions."""
    fields = {"key": key.partition("|")[2]} if key else {}
    telemetry.execute("oban.queue.suspend", queue=queue, seconds=seconds, **fields)
    what = f"a partition of queue {queue!r}" if key else f"queue {queue!r}"  # the key is from the arguments of jobs
    telemetry.queue_logger.info("%s is suspended for %.1f s", what, seconds)
