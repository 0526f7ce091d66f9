"""Running one job without a queue."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from ..errors import InvalidOption
from ..models import JobSpec
from ..models.spec import WorkerLike
from ..runtime.acks import Ack
from ..runtime.row import Row
from ..workers.outcomes import Outcome
from ..workers.registry import workers
from .drain import NODE
from .sessions import Given
from .trial import Trial


def perform(
    spec: JobSpec | WorkerLike | type[Any] | str,
    args: Mapping[str, Any] | None = None,
    *,
    session: AsyncSession | Session | None = None,
    attempt: int = 1,
) -> Any:
    """Run one job as the runtime would, without a queue and without a row, and return what it returns.

    Await it where you would await the function itself: for a worker that runs on the event loop it gives an awaitable,
    for a plain function the value. ::

        assert await perform(send_welcome.new(user_id=7)) == "sent"

        outcome = await perform(poll.new(upload_id=1))
        assert isinstance(outcome, Snooze)
        assert outcome.seconds == 60

        with pytest.raises(CardDeclined):
            await perform(charge.new(order_id=1), session=session)

    The arguments are checked and go through JSON, a parameter annotated ``Job`` gets a job (id 0 unless the spec has
    one), and the worker's timeout holds.

    :param spec: a spec; or a worker (or its name) with `args`.
    :param args: the args, when `spec` is a worker.
    :param session: for a worker that asks for one: an ``AsyncSession`` or a ``Session`` of the test. The job gets this
        very session. It may not commit it; what it did is flushed when it ends well, and rolled back to a savepoint
        when it fails, cancels or discards. No other worker touches a database here.
    :param attempt: which attempt this is, from 1, the default.
    :returns: what the worker returned; a :class:`Snooze`, :class:`Cancel`, :class:`Discard` or :class:`Record` whether
        it was returned or raised.
    :raises Exception: what the worker raises, :class:`JobTimeout` included, with a note of what would become of the
        job: its state, and when it would run again.
    :raises InvalidArgs: when the args don't fit the worker; when it records what JSON can't carry.
    :raises InvalidOption: when it asks for a session of a kind that wasn't passed, or for an attempt that the job
        doesn't have.
    :raises UnknownWorker: when no worker of this process has the name.

    As Oban's ``perform_job``.
    """
    spec = _spec(spec, args)
    worker = workers[spec.worker]
    if not 1 <= attempt <= spec.max_attempts:
        raise InvalidOption(f"perform: attempt must be 1 to {spec.max_attempts} (max_attempts), got {attempt!r}")
    trial = Trial(_row(spec, attempt), Given(session))
    if worker.is_async:
        return _performed(trial)
    return _result(trial, trial.run_plain())


async def _performed(trial: Trial) -> Any:
    return _result(trial, await trial.run_on_loop())


def _result(trial: Trial, ack: Ack | None) -> Any:
    error = trial.error
    if error is None:
        return trial.returned
    if isinstance(error, Outcome):
        return error
    if ack is not None:
        again = "" if ack.delay is None else f", to run again in {ack.delay:.0f} s"
        error.add_note(f"in attempt {ack.attempt} of {ack.max_attempts}: the job would be {ack.state}{again}")
    raise error


def _spec(spec: JobSpec | WorkerLike | type[Any] | str, args: Mapping[str, Any] | None) -> JobSpec:
    if not isinstance(spec, JobSpec):
        return JobSpec(cast(WorkerLike | str, spec), args)
    if args is not None:
        raise InvalidOption("perform: the spec has its args already; args go with a worker")
    spec.fill()
    return spec


def _row(spec: JobSpec, attempt: int) -> Row:
    now = datetime.now(UTC).replace(tzinfo=None)
    values = (
        spec.id or 0,
        spec.worker,
        attempt,
        spec.max_attempts,
        spec.priority,
        spec.args_json,
        spec.meta_json,
        "[]",
        list(spec.tags),
        now,
        now,
        now,
        None,
        None,
        None,
    )
    return Row(values, spec.queue, [NODE, str(uuid4())])
