"""What became of jobs, on its way to the database.

Acks gather while a statement is in flight, so that they come in batches by themselves. The common one (done, nothing
to note) has its own statement.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from .. import telemetry
from ..errors import Fenced
from ..models import Workflow
from ..options.backoff import default_backoff
from ..options.payload import storable
from ..statements.ack import acknowledge, committed_by, complete, still_ours
from ..statements.statement import Statement
from ..telemetry import job_logger as logger
from .batches import Size
from .lanes.failure import StatementFailed
from .lanes.lane import Lane
from .loop import Loop
from .refusals import OUT_FOR, Refusals

LARGEST_BATCH = 1_000
LARGEST_BYTES = 4_194_304
"""Of errors and recorded values in one statement: what a slow line carries in time."""
FIRST_LOCKED_RETRY = 0.005
"""Most locks that an ack meets are another fetch's, and are gone by then."""
LOCKED_RETRY = 0.25
REFUSED_RETRY = OUT_FOR
LONGEST_ERROR = 16_384


@dataclass(frozen=True, slots=True)
class Graft:
    """A workflow that a job has returned.

    :param flow: the workflow.
    :param workflow_id: the one that the job is in; None for none.
    :param node_name: what the job is called there.
    """

    flow: Workflow
    workflow_id: int | None
    node_name: str | None


@dataclass(slots=True)
class Ack:
    """One outcome. What is None stays as it is in the row."""

    id: int
    attempt: int
    producer: str
    attempted_at: datetime
    state: str = "completed"
    delay: float | None = None
    burned: bool = True
    error: str | None = None
    meta: str | None = None
    queue: str = ""
    max_attempts: int = 20
    suspend: str | None = None
    """What else must not start before `delay` has passed: the ``"queue"`` or the ``"partition"`` of the job."""
    graft: Graft | None = None
    """What takes the place of the job: written in one transaction with the ack."""
    tells: bool = False
    """Whether the change is news, on which the releaser acts."""
    keeps: bool = True
    """Whether what the job has written in its session may last. Not where it fell asleep: it starts from its top."""

    @property
    def exhausted(self) -> bool:
        return self.attempt >= self.max_attempts

    @property
    def is_plain(self) -> bool:
        return self.state == "completed" and self.meta is None and self.error is None

    @property
    def size(self) -> int:
        """The length of the text that it carries, in characters."""
        return len(self.error or "") + len(self.meta or "")


class Acks(Loop):
    """Sends acks, and keeps those that can't be sent yet.

    One ack never delays another. Where the connection is lost a batch waits for the next one; if it was committed after
    all, the fence refuses it then. Where a value can't be stored, the batch is halved until the bad one is alone; its
    job gets a plain failure. What is locked, and what the database refuses even as a failure (a trigger or constraint
    of the user's does), is tried again from time to time.

    :param lane: a connection that is not the one fetching, so that the two overlap.
    :param settled: called with each ack that the database has taken, or refused for good.
    :param refusals: names the jobs that the database refuses to change.
    """

    name = "acks"

    def __init__(self, *, lane: Lane, settled: Callable[[Ack], None], refusals: Refusals) -> None:
        super().__init__()
        # Given, and never written again.
        self._lane = lane
        self._settled = settled
        self._refusals = refusals
        # Acks for the next batch: written by add(), step() and _take_what_is_due().
        self._fresh: list[Ack] = []
        # The batch that is under way: written by step().
        self._sending: list[Ack] = []
        # Acks that are tried again, each with its time: written by _keep(), taken by _take_what_is_due().
        self._later: list[tuple[float, Ack]] = []
        # The identities of acks of the batch that are still to be sent, and of those that a statement without an
        # answer may have written: written by step(), _keep() and _settle().
        self._open: set[int] = set()
        self._doubtful: set[int] = set()
        # The identities of acks that have met a lock: written by _sort_out() and _settle().
        self._locked: set[int] = set()
        # How many acks are worth sending at once: written by step().
        self._size = Size(LARGEST_BATCH)

    def add(self, ack: Ack) -> None:
        """Send `ack` with the next batch."""
        self._fresh.append(ack)
        self.wake()

    def committed(self, ack: Ack) -> None:
        """The job's own transaction has sent this one."""
        self._settled(ack)

    @property
    def unsent(self) -> list[Ack]:
        """What the database has not taken yet."""
        return [*self._sending, *self._fresh, *(ack for _, ack in self._later)]

    def __len__(self) -> int:
        return len(self._fresh) + len(self._sending) + len(self._later)

    async def step(self) -> float | None:
        while True:
            self._take_what_is_due()
            if not self._fresh:
                break
            self._take_batch()
            self._open = {id(ack) for ack in self._sending}
            began = time.monotonic()
            try:
                await self._send(self._sending)
                self._size.succeeded(len(self._sending), time.monotonic() - began)
                self._progress()
            except BaseException as error:
                # Also of a cancellation of all tasks of the process: the stop sends what is left.
                if not isinstance(error, StatementFailed) or error.unknown:
                    self._doubtful |= self._open
                if isinstance(error, StatementFailed) and error.is_too_large:
                    self._size.failed(len(self._sending))
                self._fresh = [ack for ack in self._sending if id(ack) in self._open] + self._fresh
                raise
            finally:
                self._sending = []
        if not self._later:
            return None
        return max(min(due for due, _ in self._later) - time.monotonic(), 0.001)

    def _take_batch(self) -> None:
        count = size = 0
        for ack in self._fresh[: self._size.now]:
            size += ack.size
            if count and size > LARGEST_BYTES:
                break
            count += 1
        self._sending, self._fresh = self._fresh[:count], self._fresh[count:]

    def _take_what_is_due(self) -> None:
        if self._later:
            now = time.monotonic()
            self._fresh += [ack for due, ack in self._later if due <= now]
            self._later = [(due, ack) for due, ack in self._later if due > now]

    async def _send(self, batch: list[Ack]) -> None:
        for statement, acks in (
            (complete, [ack for ack in batch if ack.is_plain]),
            (acknowledge, [ack for ack in batch if not ack.is_plain]),
        ):
            if acks:
                with telemetry.span("oban.producer.ack", count=len(acks)):
                    await self._send_all(statement, acks)

    async def _send_all(self, statement: Statement, acks: Sequence[Ack]) -> None:
        try:
            changed = {row[0] for row in await self._lane.run_unshielded(statement, **parameters(statement, acks))}
        except StatementFailed as error:
            if not error.blames_value(self._failures):
                raise
            if len(acks) > 1:
                half = len(acks) // 2
                await self._send_all(statement, acks[:half])
                await self._send_all(statement, acks[half:])
            else:
                await self._send_failure(acks[0], error)
            return
        if missing := [ack for ack in acks if ack.id not in changed]:
            await self._sort_out(missing)
        for ack in acks:
            if ack.id in changed:
                self._settle(ack)

    async def _send_failure(self, ack: Ack, error: StatementFailed) -> None:
        """The outcome can't be stored: write a plain failure instead."""
        plain = failure(ack, f"the outcome of this run ({ack.state}) can't be stored: {error}")
        try:
            changed = await self._lane.run_unshielded(acknowledge, **parameters(acknowledge, [plain]))
        except StatementFailed as refusal:
            if not refusal.blames_value(self._failures):
                raise
            self._refusals.name(ack.id, refusal)
            self._keep(ack, REFUSED_RETRY)
            return
        if changed:
            text = "job %d: its outcome can't be stored (%s); stored a failure instead"
            logger.error(text, ack.id, error, extra=_extra(ack))
            self._settle(ack)
        else:
            await self._sort_out([ack])

    async def _sort_out(self, missing: Sequence[Ack]) -> None:
        """Of acks that changed nothing, keep those that met a lock; the others were fenced out."""
        rows = await self._lane.run_unshielded(still_ours, **parameters(still_ours, missing))
        locked = {row[0] for row in rows}
        gone = [ack for ack in missing if ack.id not in locked]
        # What a statement that went unheard may have written, it has most likely written.
        fenced = [ack for ack in gone if id(ack) not in self._doubtful]
        for ack in missing:
            if ack.id in locked:
                self._keep(ack, LOCKED_RETRY if id(ack) in self._locked else FIRST_LOCKED_RETRY)
                self._locked.add(id(ack))
        if fenced:
            rows = await self._lane.run_unshielded(committed_by, **parameters(committed_by, fenced))
            _tell_refused(fenced, {row[0]: row[1] for row in rows})
        for ack in gone:
            self._settle(ack)

    def _keep(self, ack: Ack, seconds: float) -> None:
        self._open.discard(id(ack))
        self._later.append((time.monotonic() + seconds, ack))

    def _settle(self, ack: Ack) -> None:
        self._open.discard(id(ack))
        self._doubtful.discard(id(ack))
        self._locked.discard(id(ack))
        self._settled(ack)


def _tell_refused(acks: Sequence[Ack], committed: Mapping[int, str]) -> None:
    """Tell of acks that changed nothing.

    :param committed: the states of the jobs of which these runs have written the end themselves, by id.
    """
    for ack in acks:
        run = f"job {ack.id}, attempt {ack.attempt}"
        if (state := committed.get(ack.id)) is not None:
            text = "%s: its commit had succeeded, and only the answer was lost; it %s, and has not failed"
            how = "is completed" if state == "completed" else "has snoozed"
            logger.warning(text, run, how, extra=_extra(ack))
            continue
        error = Fenced(f"{run}: it was given to another run, or deleted; nothing was written")
        logger.warning("%s", error, extra=_extra(ack))
        telemetry.execute("oban.fenced", job_id=ack.id, attempt=ack.attempt, queue=ack.queue)


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
        "attempted_at": [ack.attempted_at for ack in acks],
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


def _extra(ack: Ack) -> dict[str, Any]:
    """What records about the job of `ack` have besides their text."""
    return {"job_id": ack.id, "queue": ack.queue, "attempt": ack.attempt}
