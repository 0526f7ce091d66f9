"""A queue on a node: fetches jobs while there is room, and runs them."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from .. import telemetry
from ..options.queue import Queue
from ..statements.fetch import fetch, fetch_onward
from ..statements.rescue import reconcile
from ..workers.registry import workers
from .acks import Ack, Acks
from .attempt import Attempt, Stop
from .cursor import Cursor, Place
from .lanes.lane import Lane, StatementFailed
from .loop import Loop
from .pace import Pace
from .row import Row

RECONCILE_EVERY = 60.0
# A statement whose answer was lost may be committed by the server some time after we have noticed.
RECONCILE_AFTER_LOSS = (0.0, 1.0, 4.0, 15.0)
LONGEST_CLAIM = 0.5
"""Seconds that a job claimed ahead waits for room; then the jobs before it are longer than they were, and another node
may have room now."""
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
        self.node = node
        self.limit = options.limit
        self.paused = options.paused
        self.uuid: UUID = uuid4()
        self.key = str(self.uuid)
        self.started_at = datetime.now(UTC)
        self.running: dict[int, Attempt] = {}
        self._claimed: deque[tuple[Row, float]] = deque()
        self._unsettled: dict[int, int] = {}
        self._attempted_by = [node, self.key]
        self._lane = lane
        self._acks = acks
        self._attempt = attempt
        self._more = True
        self._cursor = Cursor()
        self._pace = Pace(options.prefetch)
        self._connections = 0
        self._reconcile_at = [time.monotonic() + RECONCILE_EVERY]
        self._fetched = False
        self._unknown: dict[str, float] = {}
        self._registered = workers.version

    def notice(self) -> None:
        """There may be jobs to fetch."""
        self._more = True
        self._cursor.notice()
        self.wake()

    def adjust(self, options: Queue) -> bool:
        """Go on with another limit, or pause, or resume. What runs goes on. False when nothing is different."""
        if (options.limit, options.paused) == (self.limit, self.paused):
            return False
        self.limit, self.paused = options.limit, options.paused
        self.notice()
        return True

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
        self._fetched = True
        self._reconcile_at = [now + delay for delay in RECONCILE_AFTER_LOSS] + [now + RECONCILE_EVERY]
        self._more = True
        self._cursor.forget()

    @property
    def room(self) -> int:
        """How many more jobs may run."""
        return 0 if self.paused or self._stopping else max(self.limit - len(self.running), 0)

    @property
    def held(self) -> list[int]:
        """The ids of the jobs that run here, or wait here for room."""
        return [*self.running, *(row.id for row, _ in self._claimed)]

    @property
    def idle(self) -> bool:
        """Whether nothing runs, and the database has taken every ack."""
        return not (self.running or self._claimed or self._unsettled)

    @property
    def demand(self) -> int:
        """How many jobs to claim now."""
        if self.paused or self._stopping:
            return 0
        ahead = self._pace.ahead(self.limit)
        if len(self._claimed) > ahead // 2:
            return 0  # not one by one
        return self.room + ahead - len(self._claimed)

    async def step(self) -> float | None:
        if self._connections != self._lane.connections:
            if self._connections:
                self.doubt()
            self._connections = self._lane.connections
        self._start_claimed()
        await self._reconcile_if_due()
        while self._more and (demand := self.demand):
            # Before the fetch, because a notice may come while it is under way.
            self._more = False
            since = self._cursor.place
            rows = await self._fetch(demand, since)
            self._progress()
            now = time.monotonic()
            self._claimed.extend((row, now) for row in rows)
            self._start_claimed()
            # After a short batch from the front nothing is there until somebody says so; the poll is the net below.
            if len(rows) >= demand or since is not None:
                self._more = True
            if rows:
                await asyncio.sleep(0)  # quick jobs end now, and make room for a whole batch
        now = time.monotonic()
        due = self._reconcile_at[0]
        if self._claimed:
            due = min(due, self._claimed[0][1] + LONGEST_CLAIM)
        return max(due - now, 0.01)

    async def stop_fetching(self) -> None:
        """Fetch no more; what runs goes on, and what was only claimed is given back."""
        await self.stop()
        self._start_claimed()

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

    def cancel_claimed(self, job_id: int) -> bool:
        """Cancel a job that was claimed but has not started. False when there is none: look among the running ones."""
        for claim in self._claimed:
            if (row := claim[0]).id == job_id:
                self._claimed.remove(claim)
                self._send(self._attempt(row, self.key).cancellation())
                return True
        return False

    async def _fetch(self, demand: int, since: Place | None) -> list[Row]:
        began = time.monotonic()
        self._fetched = True
        given: dict[str, Any] = {"attempted_by": self._attempted_by, "unknown": self._known_unknown()}
        if since is not None:
            given |= {"priority": since[0], "scheduled_at": since[1], "id": since[2]}
        with telemetry.span("oban.producer.get", queue=self.queue, demand=demand) as told:
            try:
                statement = fetch if since is None else fetch_onward
                fetched = await self._lane.run_unshielded(statement, queue=self.queue, limit=demand, **given)
            except StatementFailed as error:
                self._more = True
                if error.unknown:
                    self.doubt()
                raise
            told["count"] = len(fetched)
        rows = [Row(values, self.queue, self._attempted_by) for values in fetched]
        if len(rows) > 1:
            rows.sort(key=lambda row: row.order)  # RETURNING has no order
        self._pace.trip(time.monotonic() - began)
        self._cursor.read(since, rows[-1].order if len(rows) >= demand else None, began)
        return rows

    def _start_claimed(self) -> None:
        """Run what there is room for, and give back what waits in vain."""
        claimed = self._claimed
        if not claimed:
            return
        if self.paused or self._stopping:
            while claimed:
                self._give_back(claimed.popleft()[0])
            return
        # Also before running one: after a long pause of the process it may have been rescued.
        oldest = time.monotonic() - LONGEST_CLAIM
        while claimed and claimed[0][1] < oldest:
            self._give_back(claimed.popleft()[0])
            self._pace.job(LONGEST_CLAIM)
        while claimed and self.room:
            self._run_row(claimed.popleft()[0])

    def _give_back(self, row: Row) -> None:
        self._send(self._attempt(row, self.key).ack("available", burned=False))
        self._more = True

    def _send(self, ack: Ack) -> None:
        self._unsettled[ack.id] = self._unsettled.get(ack.id, 0) + 1
        self._acks.add(ack)

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
                self._send(ack)
            elif attempt.committed is not None:
                self._acks.committed(attempt.committed)
        finally:
            if self.running.get(row.id) is attempt:
                del self.running[row.id]
            self._pace.job(time.monotonic() - attempt.started)
            self._start_claimed()
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
        rows: Sequence[Any] = ()
        if self._fetched:
            held = [*self.held, *self._unsettled]
            rows = await self._lane.run_unshielded(reconcile, queue=self.queue, producer=self.key, held=held)
        # What has not asked for jobs since can't have been given any: a queue at rest sends nothing.
        doubts = [at for at in self._reconcile_at if at > now]
        self._fetched = bool(doubts)
        self._reconcile_at = doubts or [now + RECONCILE_EVERY]
        if rows:
            telemetry.logger.warning("%s: gave back %d jobs of a fetch whose answer was lost", self.name, len(rows))
            self._more = True
            self._cursor.forget()
