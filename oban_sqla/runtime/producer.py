"""A queue on a node: fetches jobs while there is room, and runs them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID, uuid4

from .. import telemetry
from ..limits import Queue
from ..registry import workers
from ..statements.fetch import fetch
from ..statements.rescue import reconcile
from .acks import Ack, Acks
from .attempt import Attempt, Stop
from .lanes import Lane, StatementFailed
from .loop import Loop
from .row import Row

RECONCILE_EVERY = 60.0
# A statement whose answer was lost may be committed by the server some time after we have noticed.
RECONCILE_AFTER_LOSS = (0.0, 1.0, 5.0)
FORGET_UNKNOWN_AFTER = 60.0


class Producer(Loop):
    """Fetches and runs the jobs of one queue. Draws a new identity for each start.

    :param queue: its name and options.
    :param node: the node's name; with the uuid it fences every ack.
    :param lane: the connection that fetches.
    :param acks: where outcomes go.
    :param attempt: makes a run of a row.
    """

    def __init__(
        self,
        queue: str,
        options: Queue,
        node: str,
        lane: Lane,
        acks: Acks,
        attempt: Callable[[Row, str], Attempt],
    ) -> None:
        super().__init__()
        self.name = f"producer of queue {queue!r}"
        self.queue = queue
        self.limit = options.limit
        self.paused = options.paused
        self.uuid: UUID = uuid4()
        self.key = str(self.uuid)
        self.started_at = datetime.now(UTC)
        self.running: dict[int, Attempt] = {}
        self._unsettled: dict[int, int] = {}
        self._attempted_by = [node, self.key]
        self._lane = lane
        self._acks = acks
        self._attempt = attempt
        self._more = True
        self._reconcile_at = [time.monotonic() + RECONCILE_EVERY]
        self._unknown: dict[str, float] = {}
        self._registered = workers.version

    def notice(self) -> None:
        """There may be jobs to fetch."""
        self._more = True
        self.wake()

    def settled(self, ack: Ack) -> None:
        """The database has taken the ack."""
        left = self._unsettled.get(ack.id, 0) - 1
        if left > 0:
            self._unsettled[ack.id] = left
        else:
            self._unsettled.pop(ack.id, None)

    def doubt(self) -> None:
        """The outcome of a fetch is unknown: look for jobs that were fetched unheard, now and a little later."""
        now = time.monotonic()
        self._reconcile_at = [now + delay for delay in RECONCILE_AFTER_LOSS] + [now + RECONCILE_EVERY]
        self._more = True

    @property
    def room(self) -> int:
        """How many more jobs may run."""
        return 0 if self.paused or self._stopping else max(self.limit - len(self.running), 0)

    async def step(self) -> float | None:
        await self._reconcile_if_due()
        while self._more and (room := self.room):
            # Before the fetch, because a notice may come while it is under way.
            self._more = False
            rows = await self._fetch(room)
            for row in rows:
                self._run_row(row)
            if len(rows) >= room:
                self._more = True
            # After a short batch nothing is there until somebody says so; the poll is the net below.
            if rows:
                await asyncio.sleep(0)  # quick jobs end now, and make room for a whole batch
        return max(self._reconcile_at[0] - time.monotonic(), 0.01)

    async def stop_fetching(self) -> None:
        """Fetch no more; what runs goes on."""
        await self.stop()

    async def finish(self, grace: float, patience: float = 2.0) -> list[Attempt]:
        """Let the running jobs end.

        :param grace: seconds after which coroutines are cancelled and threads told.
        :param patience: seconds for which they may then take to end.
        :returns: those that have not ended even then; their jobs stay executing.
        """
        await self._wait(grace)
        for attempt in list(self.running.values()):
            attempt.ask_to_stop(Stop.SHUTDOWN)
        await self._wait(patience)
        return list(self.running.values())

    async def _wait(self, seconds: float) -> None:
        tasks = [attempt.task for attempt in self.running.values() if attempt.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)

    async def _fetch(self, room: int) -> list[Row]:
        began = time.perf_counter()
        try:
            fetched = await self._lane.run(
                fetch, queue=self.queue, limit=room, attempted_by=self._attempted_by, unknown=self._known_unknown()
            )
        except StatementFailed as error:
            self._more = True
            if error.unknown:
                self.doubt()
            raise
        rows = [Row(values, self.queue, self._attempted_by) for values in fetched]
        if len(rows) > 1:
            rows.sort(key=lambda row: row.order)  # RETURNING has no order
        if telemetry.listened("oban.producer.get"):
            spent = time.perf_counter() - began
            telemetry.execute("oban.producer.get", queue=self.queue, demand=room, count=len(rows), duration=spent)
        return rows

    def _run_row(self, row: Row) -> None:
        attempt = self._attempt(row, self.key)
        self.running[row.id] = attempt
        attempt.task = asyncio.create_task(self._see_through(attempt))

    async def _see_through(self, attempt: Attempt) -> None:
        row = attempt.row
        try:
            # A cancellation that comes after the run has ended must not lose its ack.
            ack = await attempt.run()
            if attempt.unknown:
                self._unknown[row.worker] = time.monotonic()
            if ack is not None:
                self._unsettled[row.id] = self._unsettled.get(row.id, 0) + 1
                self._acks.add(ack)
        finally:
            if self.running.get(row.id) is attempt:
                del self.running[row.id]
            if self._more:
                self.wake()

    def _known_unknown(self) -> list[str]:
        """Workers that this node has met and doesn't know; left to others for a while."""
        if not self._unknown:
            return []
        if self._registered != workers.version:
            self._registered = workers.version
            self._unknown = {name: since for name, since in self._unknown.items() if workers.get(name) is None}
        oldest = time.monotonic() - FORGET_UNKNOWN_AFTER
        self._unknown = {name: since for name, since in self._unknown.items() if since > oldest}
        return list(self._unknown)

    async def _reconcile_if_due(self) -> None:
        now = time.monotonic()
        if now < self._reconcile_at[0]:
            return
        held = [*self.running, *self._unsettled]
        rows = await self._lane.run(reconcile, queue=self.queue, producer=self.key, held=held)
        self._reconcile_at = [at for at in self._reconcile_at if at > now] or [now + RECONCILE_EVERY]
        if rows:
            telemetry.logger.warning("%s: gave back %d jobs whose fetch went unheard", self.name, len(rows))
            self._more = True
