"""One run of a chunk: many jobs, one call, an outcome for each."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

from .. import telemetry
from ..errors import Fenced, InvalidOption, ObanError
from ..models import Job
from ..models.asked import Asked, let_look
from ..workers.closing import passes
from ..workers.context import running
from ..workers.hooks import Around
from ..workers.outcomes import Outcome
from ..workers.registry import workers
from ..workers.worker import Worker
from .acks import Ack
from .attempt import Attempt
from .durable.ledger import Ledger
from .executors.call import Call, Raised, Result, Returned
from .executors.chunk_call import ChunkCall
from .group_of import groups_in
from .host import Host
from .report import FENCED, report_end, report_fenced, report_start
from .row import Row
from .sessions import FencedOut
from .verdict import (
    Stop,
    Verdict,
    as_returned,
    cancelled,
    interrupted,
    judge,
    keeps_effects,
    of_class,
    overdue,
    unstarted,
)

Outcomes = Sequence[tuple[Row, Ack | None]]
"""What becomes of each job; None where another run has it."""


class ChunkAttempt(Attempt):
    """A run of the jobs in `rows`, of one worker and with one key. It counts as one in the limit of its queue.

    While it collects, :meth:`join` adds to it. It begins when it is full, when its first job has waited for the
    chunk's timeout, or when :meth:`begin_now` says so.
    """

    def __init__(self, worker: Worker, row: Row, host: Host) -> None:
        super().__init__(row, host)
        self.worker = worker
        # Written by join() and revoke().
        self.rows = [row]
        # The ids of jobs that were cancelled while the call runs: written by revoke().
        self.revoked: set[int] = set()
        # What has become of the jobs: written by run().
        self.outcomes: Outcomes = ()
        # What is to become of those that were called for: written by _run_alone(), _run_in_session() and _commit().
        self._verdicts: Sequence[tuple[Ack | None, BaseException | None]] = ()
        # The one of the jobs that telemetry or a hook is told of now: written by _run_all().
        self._at: Row | None = None
        # Made by collect(), set by begin_now() when nothing more can join.
        self._full: asyncio.Event | None = None

    @property
    def job(self) -> Job:
        """The one that a hook or a handler of telemetry is called for; in the function, the first."""
        return (self._at or self.row).job

    @property
    def key(self) -> tuple[str, str]:
        """What its jobs have in common."""
        return key_of(self.worker, self.row)

    @property
    def size(self) -> int:
        """The largest number of its jobs."""
        return 1 if self.worker.chunk is None else self.worker.chunk.size

    @property
    def wanted(self) -> int:
        """How many more jobs can join."""
        return 0 if self.stop is not None else self.size - len(self.rows)

    @property
    def taken(self) -> Sequence[Row]:
        return self.rows

    @property
    def ids(self) -> list[int]:
        """The ids of its jobs."""
        return [row.id for row in self.rows]

    def join(self, row: Row) -> None:
        """Run `row` with the others."""
        self.rows.append(row)
        if not self.wanted:
            self.begin_now()

    def begin_now(self) -> None:
        """Wait for no more jobs."""
        if self._full is not None:
            self._full.set()

    async def collect(self) -> None:
        """Wait until the chunk is full, its time is over, or it is asked to stop."""
        chunk = self.worker.chunk
        if chunk is None or not self.wanted:
            return
        self._full = asyncio.Event()
        try:
            async with asyncio.timeout(chunk.seconds):
                await self._full.wait()
        except TimeoutError:
            pass
        finally:
            self._full = None

    def ask_to_stop(self, reason: Stop) -> None:
        super().ask_to_stop(reason)
        self.begin_now()

    def ledger(self) -> Ledger:
        raise ObanError(
            "steps, sleeps and waits belong to one job, and this call runs a chunk of jobs, which the next attempt "
            "may put together in another way; use them in a worker without chunk="
        )

    def revoke(self, job_id: int) -> None:
        """Cancel one of the jobs. The call goes on for the others; when none is left, it is asked to stop."""
        self.revoked.add(job_id)
        if self.revoked.issuperset(self.ids) and self.stop is None:
            self.ask_to_stop(Stop.CANCEL)

    async def run(self) -> tuple[Ack | None, BaseException | None]:
        """Run the jobs. What becomes of each is in :attr:`outcomes`; returned is what becomes of the first."""
        if self.stop is not None:
            self.outcomes = [(row, self._unstarted(row, self.stop)) for row in self.rows]
            return self.outcomes[0][1], None
        self.started = time.monotonic()
        token = running.set(self)
        try:
            verdicts = await self._run_all()
        finally:
            running.reset(token)
        self.outcomes = [(row, ack) for row, ack, _ in verdicts]
        self._report([ack for _, ack, _ in verdicts])
        return verdicts[0][1:]

    def _unstarted(self, row: Row, stop: Stop) -> Ack:
        return cancelled(row) if row.id in self.revoked else unstarted(row, stop)

    async def _run_all(self) -> list[tuple[Row, Ack | None, BaseException | None]]:
        verdicts: dict[int, tuple[Ack | None, BaseException | None]] = {}
        entered: dict[int, Around] = {}
        runs: list[Row] = []
        for row in sorted(self.rows, key=lambda row: row.order):
            self._at = row
            report_start(row)
            if row.id in self.revoked:
                verdicts[row.id] = cancelled(row), None
            elif (late := overdue(row, self.worker)) is not None:
                verdicts[row.id] = late, None
            elif (refused := await self._enter(row, entered)) is not None:
                verdicts[row.id] = judge(row, self.worker, Raised(refused), self.stop)
            else:
                runs.append(row)
        self._at = None
        if runs:
            found = await self._call(runs)
            verdicts |= {row.id: verdict for row, verdict in zip(runs, found, strict=True)}
        ended: list[tuple[Row, Ack | None, BaseException | None]] = []
        for row in self.rows:
            self._at = row
            ack, error = verdicts[row.id]
            if isinstance(error, Fenced):
                report_fenced(row, error)
            if (around := entered.get(row.id)) is not None and around.is_entered:
                await around.after(row.job, FENCED if ack is None else ack.state, error)
            report_end(row, ack, error, self.started, self.host.log_exceptions, False)
            if (measure := self.host.measure) is not None and ack is not None:
                measure(row, ack, self.started)
            ended.append((row, ack, error))
        return ended

    async def _enter(self, row: Row, entered: dict[int, Around]) -> BaseException | None:
        """Call the hooks before a job. Returns what they raise."""
        if not (hooks := self.host.hooks + self.worker.hooks):
            return None
        entered[row.id] = around = Around(hooks)
        try:
            await around.before(row.job)
        except BaseException as error:
            if passes(error, self.task):
                raise
            return error
        return None

    async def _call(self, rows: Sequence[Row]) -> Sequence[tuple[Ack | None, BaseException | None]]:
        call = ChunkCall(self.worker, rows)
        try:
            for row in rows:
                let_look(row.job, partial(_look, self.asked, self.revoked, row.id))
            await self.carry_out(call)
            return self._verdicts
        except BaseException as raised:  # by the session or a resource, or because the call could not begin
            if passes(raised, self.task) or not self._interruptible:
                raise
            return self._judge(rows, Raised(raised))

    async def _run_alone(self, call: Call) -> tuple[Ack | None, BaseException | None]:
        assert isinstance(call, ChunkCall)
        self._verdicts = verdicts = self._judge(call.rows, await self._run_call(call))
        if any(ack.graft is not None for ack, _ in verdicts):
            await self._commit(call.rows, verdicts, self.host.sessions.graft)
        return self._end()

    async def _run_in_session(self, call: Call, name: str, kind: type) -> tuple[Ack | None, BaseException | None]:
        assert isinstance(call, ChunkCall)
        rows = call.rows
        session = await self.host.sessions.open(kind)
        call.injected = {**call.injected, name: session}
        try:
            self._verdicts = verdicts = self._judge(rows, as_returned(await self._run_call(call)))
            if any(keeps_effects(ack) for ack, _ in verdicts):
                await self._commit(rows, verdicts, partial(self.host.sessions.complete, session))
            return self._end()
        finally:
            if self._interruptible:  # else the call still uses it
                await self._close(session)

    async def _commit(
        self, rows: Sequence[Row], verdicts: Sequence[Verdict], write: Callable[..., Awaitable[bool]]
    ) -> None:
        """Let `write` write the acks of all jobs in one transaction, with what belongs to it."""
        try:
            self.committed = await write(*(ack for ack, _ in verdicts))
        except FencedOut as fenced:
            # The others have lost their effects with it, and run again.
            self._verdicts = [
                (None, fenced) if row.id in fenced.ids else (interrupted(row, self.worker), None) for row in rows
            ]

    def _end(self) -> tuple[Ack | None, BaseException | None]:
        """How the call has ended, for what was opened for all of its jobs: as a failure where none of them keeps its
        effects."""
        if any(ack is not None and keeps_effects(ack) for ack, _ in self._verdicts):
            return self._verdicts[0][0], None
        return next((verdict for verdict in self._verdicts if verdict[1] is not None), self._verdicts[0])

    def _judge(self, rows: Sequence[Row], result: Result) -> Sequence[Verdict]:
        """What becomes of each job after the call."""
        worker = self.worker
        of_each: Mapping[Any, Any] = {}
        if isinstance(result, Returned) and self.stop is not Stop.TIMEOUT:
            value = result.value
            if isinstance(value, Mapping):
                of_each = dict(cast(Any, value))
                result = self._checked(rows, of_each)
            elif value is not None and not isinstance(value, Outcome):
                said = (
                    f"{worker.name} returned {value!r}; a function with chunk= returns None, or a mapping of its jobs"
                )
                result = Raised(InvalidOption(f"{said} to their outcomes"))
        return [self._judge_one(row, result, of_each) for row in rows]

    def _judge_one(self, row: Row, result: Result, of_each: Mapping[Any, Any]) -> Verdict:
        if row.id in self.revoked and not (isinstance(result, Returned) and row.job in of_each):
            return cancelled(row), None
        if isinstance(result, Returned) and of_each:
            value: object = of_each.get(row.job)
            if isinstance(value, BaseException) and not isinstance(value, Outcome):
                result = Raised(value, is_given=True)
            elif isinstance(value, type) and issubclass(value, BaseException):
                result = Raised(InvalidOption(f"{self.worker.name} returned {of_class(value)}"))
            else:
                result = Returned(value)
        # A mapping is a result, also where it does not name the job.
        return judge(row, self.worker, result, self.asked.reason, self.asked.told and not of_each)

    def _checked(self, rows: Sequence[Row], of_each: Mapping[Any, Any]) -> Result:
        jobs: set[Job] = {row.job for row in rows}
        for key in of_each:
            if key not in jobs:
                return Raised(
                    InvalidOption(
                        f"{self.worker.name} returned a mapping with the key {key!r}, which is none of its jobs; use "
                        "the objects of the list: {job: Snooze(60)}"
                    )
                )
        return Returned(None)

    def _report(self, acks: Sequence[Ack | None]) -> None:
        if not telemetry.listened("oban.chunk.stop"):
            return
        states: dict[str, int] = {}
        for ack in acks:
            state = FENCED if ack is None else ack.state
            states[state] = states.get(state, 0) + 1
        telemetry.execute(
            "oban.chunk.stop",
            worker=self.worker.name,
            queue=self.row.queue,
            count=len(acks),
            states=states,
            duration=time.monotonic() - self.started,
        )


def attempt_of(host: Host, row: Row) -> Attempt:
    """A run of the job in `row`: of a chunk, where its worker takes many jobs at once."""
    worker = workers.chunked.get(row.worker) if workers.chunked else None
    return Attempt(row, host) if worker is None else ChunkAttempt(worker, row, host)


def key_of(worker: Worker, row: Row) -> tuple[str, str]:
    """What the jobs of a chunk have in common, as this process compares it."""
    chunk = worker.chunk
    fields = () if chunk is None else chunk.fields[1:]
    groups = groups_in(worker, row)
    if not fields:
        return worker.name, str(groups)
    try:
        args: Any = json.loads(row.args)
    except (ValueError, RecursionError):  # what another program wrote has more digits, or levels, than Python reads
        return worker.name, f"job {row.id}"
    sources: dict[str, Any] = {"args": args, "meta": row.meta_object}
    return worker.name, json.dumps([*groups, *(_value(sources, field) for field in fields)], sort_keys=True)


def _look(asked: Asked[Stop], revoked: set[int], job_id: int) -> bool:
    return job_id in revoked or asked.look()


def _value(sources: Mapping[str, Any], field: str) -> Any:
    place, _, path = field.partition(".")
    value: Any = sources[place]
    for name in path.split("."):
        if not isinstance(value, dict):
            return None
        value = cast(dict[str, Any], value).get(name)
    return value


__all__ = ["ChunkAttempt", "attempt_of", "key_of"]
