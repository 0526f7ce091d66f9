"""What becomes of a job: retries, outcomes, timeouts, cancellations, shutdowns.

Nothing here reads or changes anything but what it is given: it can be called in a test, or in another process.
"""

from __future__ import annotations

import asyncio
import enum
import json
from collections.abc import Sequence
from dataclasses import replace
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, TypeAlias, cast

from sqlalchemy import inspect

from ..errors import InvalidOption, JobTimeout
from ..models import Batch, JobSpec, Workflow
from ..models.node import Node
from ..options.backoff import jittered
from ..options.payload import MAX_RECORDED, encode_value
from ..statements.ack import CANCELLED_BY_REQUEST
from ..statements.marks import HAS_BEGUN
from ..workers.asleep import Asleep, asleep_in
from ..workers.outcomes import Cancel, Discard, Outcome, Record, Snooze
from ..workers.sealing import ArgsUnopened, sealed
from ..workers.worker import Worker
from .acks import Ack, Graft, error_entry, failure
from .executors.call import ENDS_PROCESS, Raised, Result, Returned
from .row import Row
from .traceback_text import bare_text, traceback_text

FIRST_UNKNOWN_DELAY = 5.0
LONGEST_UNKNOWN_DELAY = 300.0

REASON_LEFT_OUT = "the job gave a reason, which is left out because the worker's arguments are encrypted"
_MISSING_KEY = "missing_key"

Verdict: TypeAlias = tuple[Ack, BaseException | None]
"""What is to be written, and the error that led to it: what the job raised, or what made its run a failure."""


class Stop(enum.Enum):
    """Why a run was asked to stop."""

    TIMEOUT = "timeout"
    SHUTDOWN = "shutdown"
    CANCEL = "cancel"


def judge(row: Row, worker: Worker, result: Result, stop: Stop | None = None, told: bool = False) -> Verdict:
    """What becomes of a job that was run.

    :param row: the job as it was fetched.
    :param worker: its worker, whose backoff, timeout and options count.
    :param result: what the call returned or raised.
    :param stop: why the run was asked to stop; None when it was not.
    :param told: whether the job has asked, and been told so.
    """
    if isinstance(result, Raised):
        return _judge_error(row, worker, result, stop)
    value = result.value
    if stop is Stop.TIMEOUT:
        return _failed(row, worker, _timeout(worker))  # it swallowed the cancellation, or its thread came back too late
    if value is not None:
        if isinstance(value, Outcome):
            return _decided(row, worker, value)
        if isinstance(value, Workflow):
            ack = _ack(row, meta='{"recorded":false,"return":null}' if row.has_record else None)
            ack.graft, ack.tells = Graft(value, row.workflow_id, row.node_name), True
            return ack, None
        if (unrun := _unrun(value)) is not None:
            return _failed(row, worker, InvalidOption(f"{worker.name} returned {unrun}"))
    if stop is not None and told and value is None and not worker.is_async:
        # A plain function that was told to stop and has no result: it stopped.
        return cancelled(row) if stop is Stop.CANCEL else interrupted(row, worker), None
    if row.meta == "{}" and not worker.recorded:
        return _ack(row), None  # as most end; else the meta may say more
    if worker.recorded or row.keeps_result:
        return _decided(
            row, worker, Record(value if worker.arguments is None else worker.arguments.returned.kept(value))
        )
    if row.has_record:
        return _ack(row, meta='{"recorded":false,"return":null}'), None
    return _ack(row), None


def _unrun(value: object) -> str | None:
    """What is wrong with a value of which it is certain that the job has not done what it was written for."""
    kind: type[Any] = type(value)
    first = _first(value)
    if isinstance(value, type) and issubclass(value, Outcome):
        return of_class(value)
    if issubclass(kind, GeneratorType | AsyncGeneratorType | CoroutineType | map | filter):
        what = "an async generator" if issubclass(kind, AsyncGeneratorType) else f"a {kind.__name__}"
        return f"{what}, of which nothing has run; write a function that runs to its end and returns"
    if kind.__module__ == "contextlib":
        return "a context manager, which was not entered; write a function that runs to its end and returns"
    if isinstance(value, Node) and isinstance(value.flow, Workflow) and value.flow.id is None:
        return f"{value!r}, a node of a workflow that is not enqueued; return the workflow, which says what it returns"
    if isinstance(first, JobSpec | Batch | Workflow) and first.id is None and inspect(cast(Any, first)).transient:
        alone = "; a workflow is enqueued when it is returned alone" if isinstance(first, Workflow) else ""
        return f"{cast(object, first)!r}, which is not enqueued; add it to a session that the job asks for{alone}"
    return None


def of_class(value: type) -> str:
    """What is wrong with a class in the place of an outcome or an exception."""
    return f"the class {value.__name__}, which says nothing; return an object of it: {value.__name__}(…)"


def _first(value: object) -> object:
    return next(iter(cast(Sequence[object], value)), None) if isinstance(value, list | tuple) else value


def keeps_effects(ack: Ack) -> bool:
    """Whether what the job has written in its session is to be committed, together with `ack`."""
    return ack.keeps and ack.state in ("completed", "scheduled")


def as_returned(result: Result) -> Result:
    """`result` of a job with a session: a Snooze or a Record that was raised keeps its effects like a returned one."""
    if isinstance(result, Raised) and isinstance(result.error, Snooze | Record):
        return Returned(result.error)
    return result


def unknown_worker(row: Row, executor: str | None = None) -> Ack:
    """What becomes of a job whose worker this process does not know.

    A newer or an older version of the program may: the job is left to a node that does, with growing delays.

    :param executor: the one that the worker names and this node does not have. Default: the worker is not known.
    """
    return _left_to_others(row, "unknown_worker", {} if executor is None else {"unknown_executor": executor})


def unopened(row: Row) -> Ack:
    """What becomes of a job whose arguments no key of this process opens. Another node may have the key already."""
    return _left_to_others(row, _MISSING_KEY)


def is_unopened(ack: Ack) -> bool:
    """Whether `ack` was made by :func:`unopened`, here or in a child."""
    return ack.state == "scheduled" and ack.meta is not None and ack.meta.startswith(f'{{"{_MISSING_KEY}":')


def _left_to_others(row: Row, mark: str, more: dict[str, str] | None = None) -> Ack:
    times = _count(row, mark)
    delay = min(FIRST_UNKNOWN_DELAY * 2 ** min(times - 1, 10), LONGEST_UNKNOWN_DELAY)
    return _ack(row, "scheduled", delay=jittered(delay), burned=False, meta=json.dumps({mark: times, **(more or {})}))


def overdue(row: Row, worker: Worker) -> Ack | None:
    """What becomes of a job that is past its deadline; None when it may run."""
    if worker.deadline is None and row.meta == "{}":
        return None  # as of most jobs: a deadline of its own is in its meta
    limit = _deadline(row, worker)
    if limit is None or (row.attempted_at - row.scheduled_at).total_seconds() <= limit:
        return None
    if row.attempt > 1 or any(key in row.meta_object for key in HAS_BEGUN):
        return None  # it had started in time; what came between is not its fault
    return _final(row, "cancelled", f"not started by its deadline, {limit:g} s after it was due")


def _deadline(row: Row, worker: Worker) -> float | None:
    """Seconds after its time within which the job has to start: its own, or those of its worker."""
    return worker.deadline if (own := row.deadline) is None else own


def unstarted(row: Row, stop: Stop) -> Ack:
    """What becomes of a job that was asked to stop before it began."""
    return cancelled(row) if stop is Stop.CANCEL else given_back(row)


def given_back(row: Row) -> Ack:
    """The job is available again at once, and the attempt is not counted."""
    return _ack(row, "available", burned=False)


def interrupted(row: Row, worker: Worker) -> Ack:
    """What becomes of a job that had begun, and is not to blame for its end: as :func:`given_back`."""
    back = given_back(row)
    # Noted only where a deadline would else take it for one that never started.
    return back if _deadline(row, worker) is None else replace(back, meta='{"begun":true}')


def cancelled(row: Row) -> Ack:
    """The job was cancelled from outside."""
    return _final(row, "cancelled", CANCELLED_BY_REQUEST)


def _judge_error(row: Row, worker: Worker, raised: Raised, stop: Stop | None) -> Verdict:
    error = raised.error
    if isinstance(error, ArgsUnopened):
        return unopened(row), error
    if stop is not Stop.TIMEOUT and (asleep := asleep_in(error)) is not None:
        return _asleep(row, asleep), None
    if isinstance(error, asyncio.CancelledError) and stop is Stop.CANCEL:
        return cancelled(row), error
    if isinstance(error, asyncio.CancelledError) and stop is Stop.SHUTDOWN:
        return interrupted(row, worker), error
    if isinstance(error, Outcome):
        ack, invalid = _decided(row, worker, error)
        return ack, error if invalid is None else invalid
    if stop is Stop.TIMEOUT and not isinstance(error, JobTimeout):
        timeout = _timeout(worker)
        timeout.__cause__ = None if isinstance(error, asyncio.CancelledError) else error
        error = timeout
    return _failed(row, worker, error, raised.is_given and error is raised.error)


def _decided(row: Row, worker: Worker, outcome: Outcome) -> Verdict:
    try:
        match outcome:
            case Snooze():
                meta = json.dumps(outcome.meta | {"snoozed": _count(row, "snoozed")})
                ack = _ack(row, "scheduled", delay=outcome.seconds, burned=False, meta=meta)
                ack.suspend = outcome.suspend
                return ack, None
            case Record():
                text = sealed(row.worker, encode_value(outcome.value, "the recorded value", MAX_RECORDED))
                return _ack(row, meta=f'{{"recorded":true,"return":{text}}}'), None
            case Cancel() | Discard():
                state = "cancelled" if isinstance(outcome, Cancel) else "discarded"
                return _final(row, state, REASON_LEFT_OUT if worker.encrypted else outcome.reason), None
            case _:
                raise InvalidOption(f"{type(outcome).__name__} is not a valid outcome of a job")
    except ENDS_PROCESS:
        raise
    except BaseException as invalid:  # also what a value of the user's raises while it is encoded
        return _failed(row, worker, invalid)


def _asleep(row: Row, asleep: Asleep) -> Ack:
    meta = json.dumps({"slept": _count(row, "slept"), "waiting": asleep.signal})
    ack = _ack(row, "scheduled", delay=asleep.seconds, burned=False, meta=meta)
    return replace(ack, keeps=False, tells=ack.tells or asleep.signal is not None)


def _failed(row: Row, worker: Worker, error: BaseException, is_given: bool = False) -> Verdict:
    as_text = bare_text if worker.encrypted else traceback_text
    message = as_text(error)
    ack = _ack(row)
    if ack.exhausted or worker.is_final(error, is_given):  # then the backoff is not asked, as by Oban
        return replace(failure(ack, message), state="discarded", delay=None), error
    try:
        delay = worker.delay_for(lambda: row.job, error, row.attempt, row.max_attempts)
    except ENDS_PROCESS:
        raise
    except BaseException as broken:  # SystemExit and CancelledError, too
        delay = None
        message += f"\n\nThe worker's backoff raised too, so the default one is used:\n{as_text(broken)}"
    return failure(ack, message, delay), error


def _ack(
    row: Row,
    state: str = "completed",
    *,
    delay: float | None = None,
    burned: bool = True,
    error: str | None = None,
    meta: str | None = None,
) -> Ack:
    return Ack(
        row.id, row.attempt, row.attempted_by[1], row.attempted_at,
        state, delay, burned, error, meta, row.queue, row.max_attempts, tells=row.composed,
    )  # fmt: skip


def _final(row: Row, state: str, reason: str) -> Ack:
    return _ack(row, state, error=error_entry(row.attempt, reason))


def _count(row: Row, key: str) -> int:
    before = row.meta_object.get(key)
    return (before if isinstance(before, int) else 0) + 1


def _timeout(worker: Worker) -> JobTimeout:
    limit = "" if worker.timeout is None else f" of {worker.timeout:g} s"  # a class may say another for each job
    return JobTimeout(f"{worker.name}: ran longer than its timeout{limit}")
