"""Running one job without a queue."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast
from uuid import uuid4

from ..enqueueing.sessions import AnySession, current_session, named
from ..errors import InvalidOption, ObanError
from ..models import JobSpec
from ..models.asked import let_look
from ..models.kind import by_column
from ..models.spec import WorkerLike
from ..options.encryption import Encryption, current, using
from ..options.instance import KeyedInstance, state_of
from ..runtime.acks import Ack
from ..runtime.executors.call import Raised, Returned
from ..runtime.row import Row, row_of
from ..statements.fetch import FETCHED
from ..workers.outcomes import Outcome
from ..workers.registry import workers
from ..workers.sealing import sealed_args
from .drain import NODE
from .sessions import Given
from .steps import InMemory
from .trial import Trial


def perform(
    spec: JobSpec | WorkerLike | type[Any] | str,
    args: Mapping[str, Any] | None = None,
    *,
    session: AnySession | None = None,
    attempt: int = 1,
) -> Any:
    """Run one job as the runtime would, without a queue and without a row, and return what it returns.

    Await it where you would await the function itself: for a worker that runs on the event loop it returns an
    awaitable, for a plain function the value. ::

        assert await perform(send_welcome.new(user_id=7)) == "sent"

        outcome = await perform(poll.new(upload_id=1))
        assert isinstance(outcome, Snooze)
        assert outcome.seconds == 60

        with pytest.raises(CardDeclined):
            await perform(charge.new(order_id=1), session=session)

    The arguments are validated and converted to JSON and back. Instances of mapped classes are given to the job as they
    are; where there are keys of such, they are loaded in the session's transaction. A parameter annotated ``Job`` gets
    a job (with id 0 unless the spec has an id). The worker's timeout applies.

    :param spec: a spec; or a worker, or the name of one, together with `args`.
    :param args: a dict of arguments, if `spec` is a worker. Default: none.
    :param session: an ``AsyncSession`` or a ``Session`` of the test, for a worker with a session parameter. The job
        gets this session itself and may not commit it. Its changes are flushed if it succeeds, and rolled back to a
        savepoint if it fails, cancels or discards. Default: none; other workers need no database here.
    :param attempt: the number of the attempt, from 1. Default 1.
    :returns: what the worker returned, or an awaitable of it; a :class:`Snooze`, :class:`Cancel`, :class:`Discard` or
        :class:`Record` whether it was returned or raised.
    :raises Exception: what the worker raises, :class:`JobTimeout` included. A note on the exception names the state
        that the job would get, and when it would run again.
    :raises InvalidArgs: for args that don't fit the worker, or a recorded value that JSON can't represent.
    :raises InvalidOption: if the worker needs a session of a type that wasn't passed, a resource that
        :func:`resources` does not provide, or the job does not have that attempt.
    :raises UnknownWorker: if this process has no worker of that name.

    Works as Oban's ``perform_job``.
    """
    spec = _spec(spec, args)
    worker = workers[spec.worker]
    if not isinstance(attempt, int) or isinstance(attempt, bool) or not 1 <= attempt <= spec.max_attempts:
        raise InvalidOption(f"perform: attempt must be 1 to {spec.max_attempts} (max_attempts), got {attempt!r}")
    of_test = None if session is None else current_session(session, "perform")
    instances: list[object] = []
    handed = _hand_over(spec, instances)
    # As in production job.args stays encrypted, also in a test that gives no keys.
    keys = Encryption([_generated_key()]) if worker.encrypted and current() is None else None
    with using(keys):
        row = _row(spec, attempt)
        if instances:
            _ = row.job  # made of the keys, before what stands for the instances takes their place
            row.args = handed
        trial = Trial(row, Given(of_test, instances), InMemory())
        if instances:
            let_look(row.job, trial.attempt.asked.look)  # it was made before the run
        if not worker.is_async:
            return _result(trial, trial.run_plain())
    return named("perform", _performed(trial, keys))


async def _performed(trial: Trial, keys: Encryption | None) -> Any:
    with using(keys):
        ack = await trial.run_on_loop()
    return _result(trial, ack)


def _generated_key() -> bytes:
    return base64.urlsafe_b64encode(os.urandom(32))


def _result(trial: Trial, ack: Ack | None) -> Any:
    error, result = trial.error, trial.result
    if isinstance(error, Outcome):
        return error
    if error is not None:
        if ack is not None:
            again = "" if ack.delay is None else f", to run again in {ack.delay:.0f} s"
            error.add_note(f"in attempt {ack.attempt} of {ack.max_attempts}: the job would be {ack.state}{again}")
        raise error
    match result:
        case Returned(value):
            return value
        case Raised(outcome):
            return outcome  # a Snooze or a Record, which ends a job with a session well also when it is raised
        case None:
            raise ObanError(f"{trial.row.worker}: it was not run")


def _spec(spec: JobSpec | WorkerLike | type[Any] | str, args: Mapping[str, Any] | None) -> JobSpec:
    if not isinstance(spec, JobSpec):
        return JobSpec(cast(WorkerLike | str, spec), args)
    if args is not None:
        raise InvalidOption("perform: the spec has its args already; args go with a worker")
    return spec


def _hand_over(spec: JobSpec, instances: list[object]) -> str:
    """Fill in what waits for a flush, of which a test needs none. Of instances the keys, as far as they have one.

    :param instances: filled with the instances themselves, which the job gets.
    :returns: the args that it reads, with the numbers of the instances.
    """
    if not spec.waits:
        return spec.args_json

    def numbered(instance: Any, path: str) -> KeyedInstance:
        instances.append(instance)
        return KeyedInstance(instance, None, number=len(instances) - 1)

    known = spec.known()
    spec.store(known, numbered)
    handed = spec.args_json
    spec.store(known, lambda instance, path: KeyedInstance(instance, state_of(instance).identity))
    return handed


def _row(spec: JobSpec, attempt: int) -> Row:
    now = datetime.now(UTC).replace(tzinfo=None)
    values = dict.fromkeys(FETCHED) | by_column(spec.kind)
    values |= {"id": spec.id or 0, "attempt": attempt, "args": sealed_args(spec.worker, spec.args_json), "errors": "[]"}
    values |= dict.fromkeys(("inserted_at", "scheduled_at", "attempted_at"), now)
    return row_of(*(values[name] for name in FETCHED), spec.queue, [NODE, str(uuid4())])
