"""Runs calls outside the node: in its own children, or by an executor of the user's."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import copy_context
from dataclasses import replace
from typing import Any, TypedDict

from typing_extensions import Unpack

from ..errors import ChildDied
from ..options.encryption import current, keys_of
from ..options.job_logs import JobLogs
from ..options.resources import Resource
from ..runtime.acks import error_entry
from ..runtime.executors.call import Call, Judged, Raised, Result
from ..runtime.executors.executor import Attempted, Stoppable, Timer
from ..runtime.group_of import Load
from ..runtime.row import Row
from ..runtime.verdict import Stop, judge
from ..telemetry import job_logger
from ..telemetry.log_error import log_error
from . import wire
from .child import Child, supervise
from .errand import judged, payload, told
from .events import emit
from .executor import Executor
from .factories import factory_names
from .groups import Groups, groups_asked, sent
from .pool import Pool
from .slots import heard_of
from .telling import heard
from .traces import carrier

Settled = Callable[[Row], Awaitable[bool]]
"""Whether the job of a row no longer belongs to its run: its own transaction has committed, or another run has it."""


class Given(TypedDict):
    """What both kinds of remotes need; see :class:`_Remote`."""

    max_crashes: int
    settled: Settled
    resources: Mapping[Any, Resource]
    groups: Mapping[Any, Load]


class _Remote:
    """What both kinds of remotes have in common: the payload of a call, and what becomes of a lost run.

    :param max_crashes: lost runs after which a job is discarded.
    :param settled: asked about a job with a session whose run was lost.
    :param resources: what the runtime provides; the other process makes its own objects.
    :param groups: load the batch or the workflow of a job, which is sent with the call.
    """

    def __init__(self, **given: Unpack[Given]) -> None:
        self._max_crashes = given["max_crashes"]
        self._settled = given["settled"]
        self._resources = given["resources"]
        self._groups = given["groups"]

    def after(self, seconds: float, fn: Callable[..., object], *args: Any) -> Timer:
        """Call ``fn(*args)`` after `seconds`."""
        return asyncio.get_running_loop().call_later(seconds, fn, *args)

    async def _payload(self, call: Call, keys: list[str] | None = None, log: JobLogs | None = None) -> bytes:
        groups: Groups = await sent(call, self._groups) if groups_asked(call.worker) else {}
        return payload(call, carrier(), factory_names(call.worker, self._resources), groups, keys, log)

    async def _lost(self, call: Call, error: ChildDied, attempt: Stoppable) -> Result | Judged:
        """The result of a run whose process has ended, perhaps because the node has killed it."""
        row = call.row
        if call.asked and await self._settled(row):
            # The process ended between its COMMIT and its answer: nothing is left to be written.
            ack, _ = judge(row, call.worker, Raised(error))
            return Judged(replace(ack, state="completed", delay=None, error=None), None, True)
        if attempt.stop is not None:
            return Raised(asyncio.CancelledError())
        before = row.meta_object.get("crashes")
        crashes = (before if isinstance(before, int) else 0) + 1
        ack, _ = judge(row, call.worker, Raised(error))
        ack = replace(ack, meta=json.dumps({"crashes": crashes}))
        if crashes >= self._max_crashes and ack.state != "discarded":
            reason = f"poison: {crashes} processes ended while they ran this job; the last time {error}"
            ack = replace(ack, state="discarded", delay=None, error=error_entry(row.attempt, reason))
        return Judged(ack, error, False)


class InChildren(_Remote):
    """Runs calls in the child processes of this node.

    :param pool: the children.
    :param given: what every executor in other processes needs.
    """

    def __init__(self, pool: Pool, **given: Unpack[Given]) -> None:
        super().__init__(**given)
        self._pool = pool

    @property
    def places(self) -> int:
        """Most children."""
        return self._pool.size

    async def run(self, call: Call, attempt: Attempted, begin: Callable[[], None]) -> Result | Judged:
        """Run `call` in a child. A cancellation stops the call, and kills the child half a second later."""
        try:
            payload = await self._payload(call, _keys())
        except (Exception, asyncio.CancelledError) as error:
            return Raised(error)
        try:
            child = await self._pool.take()
        except asyncio.CancelledError as cancelled:
            return Raised(cancelled)
        begin()
        child.slot_said = heard_of(attempt.slots, call.row.id)
        child.runs, child.context = attempt, copy_context()
        running = child.run(payload)
        # By a callback, because it runs before this coroutine goes on, and the child is free already.
        running.add_done_callback(lambda _: self._leave(child))
        await _until_done(running, lambda: child.kill((attempt.stop or Stop.SHUTDOWN).value))
        try:
            answer = running.result()
        except ChildDied as error:
            return await self._lost(call, error, attempt)
        return judged(answer, call.row)

    def _leave(self, child: Child) -> None:
        child.slot_said = None
        child.runs = child.context = None
        self._pool.give_back(child)


class Outside(_Remote):
    """Runs calls by an executor of the user's.

    :param executor: what the user gave.
    :param job_logs: whether the logs of jobs are kept. Default: they are not.
    :param given: what every executor in other processes needs.
    """

    places = 0

    def __init__(self, executor: Executor, job_logs: JobLogs | None = None, **given: Unpack[Given]) -> None:
        super().__init__(**given)
        self._executor = executor
        self._job_logs = job_logs

    async def run(self, call: Call, attempt: Attempted, begin: Callable[[], None]) -> Result | Judged:
        """Run `call` elsewhere. A cancellation asks the executor to kill it, and waits for its end."""
        try:
            payload = await self._payload(call, log=self._job_logs)
        except (Exception, asyncio.CancelledError) as error:
            return Raised(error)
        begin()
        killing: set[asyncio.Task[None]] = set()
        try:
            run = self._executor.submit(payload)
            running = asyncio.ensure_future(run)

            def kill() -> None:
                killing.add(asyncio.ensure_future(self._kill(run, call.row)))

            await _until_done(running, kill)
            answer = running.result()
        except asyncio.CancelledError as cancelled:
            return Raised(cancelled)
        except ChildDied as error:
            return await self._lost(call, error, attempt)
        finally:
            await asyncio.gather(*killing)
        if (said := told(answer)) is not None:
            await heard(attempt, said)
        found = judged(answer, call.row)
        if isinstance(found, Judged) and attempt.stop is Stop.TIMEOUT and found.ack is not None and not found.committed:
            return Raised(found.error or asyncio.CancelledError())  # too late, like the result of a thread
        return found

    async def _kill(self, run: Any, row: Row) -> None:
        try:
            await self._executor.kill(run)
        except Exception as error:
            text = "job %d: its executor could not kill it, so it runs to its end"
            log_error(job_logger, error, text, row.id, extra=row.log_extra)


def _keys() -> list[str] | None:
    """The keys of this node, sent to a child because the code that reads them may run only in the node's program."""
    encryption = current()
    if encryption is None:
        return None
    try:
        return keys_of(encryption)
    except Exception:  # raised by the user's function; the child gives the job back if it needs the keys
        return None


async def _until_done(running: asyncio.Future[bytes], kill: Callable[[], None]) -> None:
    """Wait for the end of a run. The first cancellation kills the run, and the wait goes on."""
    killed = False
    while not running.done():
        try:
            await asyncio.wait((running,))
        except asyncio.CancelledError:
            if not killed:
                killed = True
                kill()


_taking: set[asyncio.Task[None]] = set()


async def _take(child: Child, run: Attempted | None, fields: dict[str, Any]) -> None:
    """Take what the job of `run` has told, and answer the child, which waits; also when the run has ended here."""
    child.answer_told(fenced=run is None or not await heard(run, fields))


def relay(child: Child, kind: int, fields: dict[str, Any], *, woke: Callable[[Sequence[str], bool], None]) -> None:
    """Do in the node what a child reports.

    :param woke: called with the queues for which the child has committed jobs, and whether one is due soon.
    """
    if kind == wire.TELL:
        supervise(_take(child, child.runs, fields), _taking)
    elif kind == wire.EVENT and "slot" in fields:
        if child.slot_said is not None:
            child.slot_said(fields["slot"])
    elif kind == wire.EVENT:
        emit(fields["event"], fields["fields"], child.context)
    elif kind == wire.WOKE:
        woke(fields["queues"], fields["soon"])
    elif kind == wire.LOG:
        logger = logging.getLogger(fields["name"])
        if logger.isEnabledFor(fields["level"]):
            trace = f"\n{fields['trace']}" if fields["trace"] else ""
            record = logging.LogRecord(
                fields["name"], fields["level"], fields["path"], fields["line"], f"{fields['message']}{trace}",
                None, None, fields["function"],
            )  # fmt: skip
            record.created = fields["created"]
            record.process = child.pid
            for name, value in fields["extra"].items():
                setattr(record, name, value)
            logger.handle(record)
