"""A queue on a node: fetches jobs while there is room, and runs them."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID, uuid4

from ..options.queue import Queue
from ..workers.registry import workers
from .acks import Ack, Acks
from .attempt import Attempt
from .chunk_attempt import ChunkAttempt
from .chunks import Chunks
from .fetcher import Fetcher
from .lanes.failure import StatementFailed
from .lanes.lane import Lane
from .limited import LimitedFetcher
from .loop import Loop
from .reconciliation import Reconciliation
from .refusals import Refusals
from .row import Row
from .slots import Slots
from .unfit import Unfit
from .verdict import Stop, cancelled, given_back

T = TypeVar("T")

LONGEST_CLAIM = 0.5
"""Seconds that a job claimed ahead waits for room; then the jobs before it are longer than they were, and another node
may have room now."""


class Producer(Loop):
    """Fetches and runs the jobs of one queue. Draws a new identity for each start.

    :param queue: the queue's name.
    :param options: its options when it starts.
    :param node: the node's name; with the uuid it fences every ack.
    :param lane: the connection that fetches.
    :param acks: where outcomes go.
    :param attempt: makes a run of a row.
    :param refusals: the jobs that the database refuses to change.
    :param suspend: suspends what the ack of a job asks for.
    """

    def __init__(
        self,
        *,
        queue: str,
        options: Queue,
        node: str,
        lane: Lane,
        acks: Acks,
        attempt: Callable[[Row], Attempt],
        refusals: Refusals,
        suspend: Callable[[Ack, Callable[[], bool]], Awaitable[None]],
    ) -> None:
        super().__init__()
        self.name = f"producer of queue {queue!r}"
        self.queue = queue
        self.node = node
        # Written by adjust().
        self.options = options
        self.uuid: UUID = uuid4()
        self.key = str(self.uuid)
        self.started_at = datetime.now(UTC)
        # By the job's id: written by _start_claimed(), run() and _see_through().
        self.running: dict[int, Attempt] = {}
        self.slots = Slots(running=self.running, limit=lambda: self.limit, freed=self.notice)
        """Which of them count in the limit."""
        # Given, and never written again.
        self._refusals = refusals
        self._acks = acks
        self._attempt = attempt
        self._suspend = suspend
        self._unfit = Unfit()
        self._chunks = Chunks()
        # How it fetches, and where: written by adjust() and use().
        self._lane = lane
        self._fetcher = self._made_fetcher()
        self._reconciliation = Reconciliation(lane, refusals)
        # Until when, in monotonic seconds, a queue without limits is suspended: written by suspend().
        self._suspended_until = 0.0
        # Fetched jobs that wait for room, and since when: written by step(), _start_claimed() and cancel().
        self._claimed: deque[tuple[Row, float]] = deque()
        # How many acks of a job the database has not taken yet: written by _send() and settled().
        self._unsettled: dict[int, int] = {}
        # How often the lane had connected when it was last looked at: written by step() and use().
        self._connections = 0

    def notice(self) -> None:
        """There may be jobs to fetch."""
        self._fetcher.notice()
        self._chunks.notice()
        self.wake()

    @property
    def limit(self) -> int:
        """How many of its jobs run here at once."""
        return self.options.limit

    @property
    def paused(self) -> bool:
        """Whether it fetches no jobs."""
        return self.options.paused

    def adjust(self, options: Queue) -> bool:
        """Go on with other limits, or pause, or resume. What runs goes on. False when nothing is different."""
        before, self.options = self.options, options
        if before == options:
            return False
        if options.limits != before.limits or options.prefetch != before.prefetch:
            self._fetcher = self._made_fetcher()
        self._give_back_unbegun()
        self.notice()
        return True

    @property
    def lane(self) -> Lane:
        """The connection that fetches."""
        return self._lane

    def use(self, lane: Lane) -> None:
        """Fetch on another connection from now on."""
        if lane is not self._lane:
            self._lane, self._connections = lane, 0
            self._fetcher = self._made_fetcher()
            self._reconciliation.use(lane)

    def suspend(self, seconds: float) -> None:
        """Start no job of a queue without limits for so long; in one with limits the fetch sees to that."""
        was = self._is_suspended
        self._suspended_until = time.monotonic() + seconds
        if was or seconds > 0:
            self.notice()

    def _made_fetcher(self) -> Fetcher | LimitedFetcher:
        by = [self.node, self.key]
        given: dict[str, Any] = {"lane": self._lane, "unfit": self._unfit, "refusals": self._refusals}
        if self.options.is_limited:
            return LimitedFetcher(queue=self.queue, options=self.options, attempted_by=by, **given)
        return Fetcher(queue=self.queue, attempted_by=by, prefetch=self.options.prefetch, **given)

    def settled(self, ack: Ack) -> None:
        """The database has taken the ack."""
        if self._fetcher.awaits_acks:  # a slot of the cluster is free
            self.notice()
        left = self._unsettled.get(ack.id, 0) - 1
        if left > 0:
            self._unsettled[ack.id] = left
        else:
            self._unsettled.pop(ack.id, None)

    def doubt(self) -> None:
        """The outcome of a fetch is unknown: look for jobs that were fetched unheard, now and a little later."""
        self._reconciliation.doubt()
        self._fetcher.start_over()

    @property
    def room(self) -> int:
        """How many more jobs may run."""
        if self.paused or self._stopping:
            return 0
        room = max(self.limit - self.slots.occupied, 0)
        # The limits of the cluster hold for each job, so a chunk can't fetch by itself: one at a time joins it.
        return room or int(self.options.is_limited and self._chunks.wanted > 0)

    @property
    def held(self) -> dict[int, Row]:
        """The jobs that run here, or wait here for room, by their ids."""
        running = [row for attempt in self.running.values() for row in attempt.taken]
        return {row.id: row for row in (*running, *(row for row, _ in self._claimed))}

    @property
    def idle(self) -> bool:
        """Whether nothing runs, and the database has taken every ack."""
        return not (self.running or self._claimed or self._unsettled)

    @property
    def demand(self) -> int:
        """How many jobs to claim now."""
        if self.paused or self._stopping or self._is_suspended or self._enough_wait():
            return 0
        ahead = self._fetcher.ahead(self.limit)
        if len(self._claimed) > ahead // 2:
            return 0  # not one by one
        return self.room + ahead - len(self._claimed)

    @property
    def _is_suspended(self) -> bool:
        return time.monotonic() < self._suspended_until and not self.options.is_limited

    async def step(self) -> float | None:
        if self._connections != self._lane.connections:
            if self._connections:
                self.doubt()
            self._connections = self._lane.connections
        self._start_claimed()
        if time.monotonic() >= self._reconciliation.due:
            held = [*self.held, *self._unsettled]
            if await self._reconciliation.run(self.name, self.queue, self.key, held):
                self._fetcher.start_over()
        if time.monotonic() >= self._fetcher.due:
            self._fetcher.more = True
        while self._fetcher.more and (demand := self.demand):
            rows = await self._fetched(self._fetcher.fetch(self._fetcher.at_once(demand, self.limit)))
            self._progress()
            now = time.monotonic()
            self._claimed.extend((row, now) for row in rows)
            self._start_claimed()
            await self._fill_chunks()
            if rows and not self.demand:
                await asyncio.sleep(0)  # quick jobs end now, and make room for the next ones
        await self._fill_chunks()
        now = time.monotonic()
        due = self._reconciliation.due
        if self._claimed:
            due = min(due, self._claimed[0][1] + LONGEST_CLAIM)
        if self._is_suspended:
            due = min(due, self._suspended_until)
        elif self.room:
            due = min(due, self._fetcher.due)
        return max(due - now, 0.001)

    async def _fill_chunks(self) -> None:
        """Fetch what runs together with a job that collects, whether there is room for other jobs or not."""
        fetcher = self._fetcher
        while isinstance(fetcher, Fetcher) and (chunk := self._chunks.to_fill()) is not None:
            if self.paused or self._stopping or self._is_suspended:
                return
            with self._chunks.looking(chunk) as look:
                rows, look.is_full = await self._fetched(fetcher.fetch_chunk(chunk.row, chunk.wanted))
            # Not all may join: it may have begun meanwhile.
            self._claimed.extend((row, time.monotonic()) for row in rows)
            self._start_claimed()

    async def _fetched(self, fetch: Awaitable[T]) -> T:
        self._reconciliation.fetched()
        try:
            return await fetch
        except StatementFailed as error:
            if error.unknown:
                self.doubt()
            raise

    async def stop_fetching(self) -> None:
        """Fetch no more; what runs goes on, and what was only claimed is given back."""
        await self.stop()
        self._start_claimed()
        self._give_back_unbegun()

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

    def _enough_wait(self) -> bool:
        """Whether as many jobs wait for a child as there are children: more would only wait here instead of elsewhere.

        Then jobs are fetched in batches, and not one whenever another has ended.
        """
        waiting = [places for attempt in self.running.values() if (places := attempt.places)]
        return bool(waiting) and len(waiting) >= waiting[0]

    def _give_back_unbegun(self) -> None:
        """Give back jobs that wait for a child: all where the queue is paused or stops, else those beyond its limit."""
        if self.paused or self._stopping:
            self._chunks.stop()
        waiting = [attempt for attempt in self.running.values() if attempt.places]
        if not (self.paused or self._stopping):
            beyond = self.slots.occupied - self.limit
            waiting = waiting[-beyond:] if beyond > 0 else []
        for attempt in waiting:
            attempt.ask_to_stop(Stop.SHUTDOWN)

    async def _wait(self, seconds: float) -> None:
        tasks = [attempt.task for attempt in self.running.values() if attempt.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)

    async def run(self, row: Row) -> None:
        """Run a job that was taken for this producer in another way, whatever its limit, to its end."""
        self.running[row.id] = attempt = self._attempt(row)
        attempt.slots = self.slots
        attempt.task = asyncio.create_task(self._see_through(attempt), context=self.context.copy())
        await asyncio.wait([attempt.task])

    def cancel(self, job_id: int) -> bool:
        """Cancel a job that runs here, or was claimed and has not started. False when there is none."""
        for chunk in self.running.values() if workers.chunked else ():
            if isinstance(chunk, ChunkAttempt) and job_id in chunk.ids:
                chunk.revoke(job_id)
                return True
        if (attempt := self.running.get(job_id)) is not None:
            if attempt.stop is None:  # once: its clean-up may take a while
                attempt.ask_to_stop(Stop.CANCEL)
            return True
        for claim in self._claimed:
            if (row := claim[0]).id == job_id:
                self._claimed.remove(claim)
                self._send(cancelled(row))
                return True
        return False

    def _start_claimed(self) -> None:
        """Run what there is room for, and give back what waits in vain."""
        slots = self.slots
        if slots.out:
            slots.hand_on()
        claimed = self._claimed
        if not claimed:
            return
        running, limit = self.running, self.limit
        if self.paused or self._is_suspended or self._stopping:
            while claimed:
                self._give_back(claimed.popleft()[0])
            return
        # Also before running one: after a long pause of the process it may have been rescued.
        oldest = time.monotonic() - LONGEST_CLAIM
        while claimed and claimed[0][1] < oldest:
            self._give_back(claimed.popleft()[0])
            self._fetcher.ran(LONGEST_CLAIM)
        loop = asyncio.get_running_loop()
        while claimed:
            if workers.chunked and self._chunks.joins(claimed[0][0]):
                claimed.popleft()
                continue
            if len(running) - len(slots.out) >= limit:
                break
            row = claimed.popleft()[0]
            running[row.id] = attempt = self._attempt(row)
            attempt.slots = slots
            if isinstance(attempt, ChunkAttempt):
                self._chunks.began(attempt)
            # A context apart: what one job sets is not seen by the next, which its end may start.
            attempt.task = loop.create_task(self._see_through(attempt), context=self.context.copy())

    def _give_back(self, row: Row) -> None:
        self._send(given_back(row))
        self._fetcher.more = True

    def _send(self, ack: Ack) -> None:
        self._unsettled[ack.id] = self._unsettled.get(ack.id, 0) + 1
        self._acks.add(ack)

    async def _see_through(self, attempt: Attempt) -> None:
        row = attempt.row
        try:
            # A cancellation that comes after the run has ended must not lose its acks.
            if isinstance(attempt, ChunkAttempt):
                acks = await self._see_chunk_through(attempt)
            else:
                ack, _ = await attempt.run()
                acks = [ack]
                if attempt.unknown:
                    self._unfit.add(row.worker)
            for ack in acks:
                if ack is None:
                    continue  # another run has the job
                if ack.suspend is not None:
                    await self._suspend(ack, lambda: self._stopping)
                if attempt.committed:
                    self._acks.committed(ack)
                else:
                    self._send(ack)
        finally:
            if self.running.get(row.id) is attempt:
                del self.running[row.id]
                if self.slots.out:
                    self.slots.ended(row.id)
            if attempt.started:
                self._fetcher.ran(time.monotonic() - attempt.started)
            self._start_claimed()
            if self._fetcher.more:
                self.wake()

    async def _see_chunk_through(self, chunk: ChunkAttempt) -> list[Ack | None]:
        try:
            await chunk.collect()
        finally:
            self._chunks.begins(chunk)
        await chunk.run()
        return [ack for _, ack in chunk.outcomes]
