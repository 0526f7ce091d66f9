"""What became of jobs, on its way to the database.

Acks gather while a statement is in flight, so that they come in batches by themselves. The common one (done, nothing
to note) has a statement of its own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from .. import telemetry
from ..backoff import default_backoff
from ..errors import Fenced
from ..payload import storable
from ..statements.ack import acknowledge, complete, still_ours
from ..statements.statement import Statement
from ..telemetry import logger
from .lanes import Lane, StatementFailed
from .loop import Loop

LARGEST_BATCH = 1_000
LOCKED_RETRY = 0.25
LONGEST_ERROR = 16_384


@dataclass(slots=True)
class Ack:
    """One outcome. What is None stays as it is in the row."""

    id: int
    attempt: int
    producer: str
    state: str = "completed"
    delay: float | None = None
    burned: bool = True
    error: str | None = None
    meta: str | None = None
    queue: str = ""
    max_attempts: int = 20

    @property
    def exhausted(self) -> bool:
        return self.attempt >= self.max_attempts

    @property
    def is_plain(self) -> bool:
        return self.state == "completed" and self.meta is None and self.error is None


class Acks(Loop):
    """Sends acks, and keeps those that can't be sent yet.

    :param lane: a connection that is not the one fetching, so that the two overlap.
    :param settled: called with each ack that the database has taken, or refused for good.
    """

    name = "acks"

    def __init__(self, lane: Lane, settled: Callable[[Ack], None]) -> None:
        super().__init__()
        self._lane = lane
        self._settled = settled
        self._fresh: list[Ack] = []
        self._locked: list[Ack] = []
        self._retry_locked_at = 0.0

    def add(self, ack: Ack) -> None:
        """Send `ack` with the next batch."""
        self._fresh.append(ack)
        self.wake()

    def __len__(self) -> int:
        return len(self._fresh) + len(self._locked)

    async def step(self) -> float | None:
        while self._fresh:
            batch, self._fresh = self._fresh[:LARGEST_BATCH], self._fresh[LARGEST_BATCH:]
            await self._send_or_keep(batch)
        if not self._locked:
            return None
        if (wait := self._retry_locked_at - time.monotonic()) > 0:
            return wait
        batch, self._locked = self._locked, []
        await self._send_or_keep(batch)
        return LOCKED_RETRY if self._locked else None

    async def _send_or_keep(self, batch: list[Ack]) -> None:
        try:
            await self._send(batch)
        except StatementFailed:
            # The connection is gone, or the server is going: the batch waits for the next one. If it was committed
            # after all, the fence refuses it then.
            self._fresh = [ack for ack in batch if not self._is_settled(ack)] + self._fresh
            raise

    async def _send(self, batch: list[Ack]) -> None:
        self._done: set[int] = set()
        for statement, acks in (
            (complete, [ack for ack in batch if ack.is_plain]),
            (acknowledge, [ack for ack in batch if not ack.is_plain]),
        ):
            if acks:
                await self._send_all(statement, acks)

    def _is_settled(self, ack: Ack) -> bool:
        return id(ack) in self._done

    async def _send_all(self, statement: Statement, acks: Sequence[Ack]) -> None:
        began = time.perf_counter()
        try:
            changed = {row[0] for row in await self._lane.run(statement, **parameters(statement, acks))}
        except StatementFailed as error:
            if not error.is_data_error:
                raise
            await self._send_each(statement, acks, error)
            return
        fenced = 0
        missing = [ack for ack in acks if ack.id not in changed]
        if missing:
            fenced = await self._sort_out(missing)
        for ack in acks:
            if ack.id in changed:
                self._settle(ack)
        if telemetry.listened("oban.producer.ack"):
            spent = time.perf_counter() - began
            telemetry.execute("oban.producer.ack", count=len(changed), fenced=fenced, duration=spent)

    async def _send_each(self, statement: Statement, acks: Sequence[Ack], error: StatementFailed) -> None:
        """One ack of the batch can't be stored: each goes alone, and the bad one as a plain failure."""
        if len(acks) > 1:
            for ack in acks:
                await self._send_all(statement, [ack])
            return
        ack = acks[0]
        logger.error("job %d: its outcome can't be stored (%s); noted as a failure", ack.id, error)
        plain = failure(ack, f"the outcome of this run ({ack.state}) can't be stored: {error}")
        await self._lane.run(acknowledge, **parameters(acknowledge, [plain]))
        self._settle(ack)

    async def _sort_out(self, missing: Sequence[Ack]) -> int:
        """Of acks that changed nothing, keep those that met a lock; the others were fenced out. Returns how many."""
        rows = await self._lane.run(still_ours, **parameters(still_ours, missing))
        locked = {row[0] for row in rows}
        fenced = 0
        for ack in missing:
            if ack.id in locked:
                self._locked.append(ack)
                self._retry_locked_at = time.monotonic() + LOCKED_RETRY
                self._done.add(id(ack))
                continue
            fenced += 1
            error = Fenced(f"job {ack.id}, attempt {ack.attempt}: it was given to another run; nothing was written")
            logger.warning("%s", error)
            telemetry.execute("oban.fenced", job_id=ack.id, attempt=ack.attempt, queue=ack.queue)
            self._settle(ack)
        return fenced

    def _settle(self, ack: Ack) -> None:
        self._done.add(id(ack))
        self._settled(ack)


def failure(ack: Ack, message: str, delay: float | None = None) -> Ack:
    """The run of `ack` as a plain failure: it will be retried with the usual backoff, or is discarded."""
    if delay is None:
        delay = default_backoff(ack.attempt, ack.max_attempts)
    return replace(
        ack,
        state="discarded" if ack.exhausted else "retryable",
        delay=None if ack.exhausted else delay,
        burned=True,
        error=error_entry(ack.attempt, message),
        meta=None,
    )


def error_entry(attempt: int, message: str) -> str:
    """What is added to the errors of a job, as Oban does: a list of one, so that it can be appended."""
    entry = {"attempt": attempt, "at": datetime.now(UTC).isoformat(), "error": storable(message, LONGEST_ERROR)}
    return json.dumps([entry])


def parameters(statement: Statement, acks: Sequence[Ack]) -> dict[str, object]:
    parameters: dict[str, object] = {
        "id": [ack.id for ack in acks],
        "attempt": [ack.attempt for ack in acks],
        "producer": [ack.producer for ack in acks],
    }
    if statement is acknowledge:
        parameters |= {
            "state": [ack.state for ack in acks],
            "delay": [ack.delay for ack in acks],
            "burned": [int(ack.burned) for ack in acks],
            "error": [ack.error for ack in acks],
            "meta": [ack.meta for ack in acks],
        }
    return parameters
