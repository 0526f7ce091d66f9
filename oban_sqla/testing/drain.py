"""Running what is queued, in the test's own transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast, overload
from uuid import uuid4

from sqlalchemy import inspect
from sqlalchemy.exc import DBAPIError, InvalidRequestError, SQLAlchemyError
from sqlalchemy.orm import InstanceState, Session

from .. import telemetry
from ..enqueueing.sessions import AnySession, SomeAsyncSession, SomeSession
from ..errors import InvalidOption, ObanError, UnknownWorker
from ..models import Batch, Workflow
from ..models.checks import check_name
from ..options.job_logs import JobLogs, checked_job_logs
from ..runtime.acks import Ack, parameters
from ..runtime.journal.job_log import kept_apart
from ..runtime.row import Row, row_of
from ..runtime.verdict import given_back, is_unopened
from ..statements.ack import acknowledge, complete
from ..statements.drain import begun_at, next_due, runnable, state_of, take, take_with
from ..types import naive_utc
from ..workers.outcomes import Outcome
from .clock import current_clock
from .groups import groups_asked, groups_of, most_with, release
from .idle import tell_idle
from .moments import due_by, end_of, real_time
from .savepoint import Savepoint
from .sessions import Joined, connection_of, in_session
from .steps import InTransaction
from .told import write_told
from .trial import Trial

NODE = "testing"
LOST = ("retryable", "discarded", "cancelled")
"""How a run ends whose effects are rolled back."""


@overload
def drain(
    session: SomeAsyncSession,
    queue: str | Collection[str] | None = None,
    *,
    with_scheduled: bool | datetime = False,
    until: datetime | timedelta | float | None = None,
    with_recursion: bool = True,
    with_safety: bool = True,
    limit: int | None = None,
    job_logs: JobLogs | None = None,
) -> Awaitable[Drained]: ...
@overload
def drain(
    session: SomeSession,
    queue: str | Collection[str] | None = None,
    *,
    with_scheduled: bool | datetime = False,
    until: datetime | timedelta | float | None = None,
    with_recursion: bool = True,
    with_safety: bool = True,
    limit: int | None = None,
    job_logs: JobLogs | None = None,
) -> Drained: ...
def drain(
    session: AnySession,
    queue: str | Collection[str] | None = None,
    *,
    with_scheduled: bool | datetime = False,
    until: datetime | timedelta | float | None = None,
    with_recursion: bool = True,
    with_safety: bool = True,
    limit: int | None = None,
    job_logs: JobLogs | None = None,
) -> Any:
    """Run the enqueued jobs, and those that they enqueue, one after the other: ``await drain(session)``.

    ::

        assert await drain(session) == {"completed": 2, "retryable": 1}

    Each job runs in a savepoint on the session's own connection, so that a rollback of the test removes everything. A
    job with a session parameter gets a new session, joined to that savepoint; its ``commit()`` is refused as in
    production. What a job that fails, cancels or discards has written on this connection is rolled back. The outcome is
    acknowledged by the same statements as in production. A job runs at most once per call: one that failed, snoozed or
    sleeps waits for the next call, unless `until` moves the time. Its steps, progress and events are recorded as in
    production, and stay when it fails; a job that waits for a signal sleeps at once. At the end the column values of
    the session's objects are reloaded, so that the test sees what the jobs have changed.

    :param session: an ``AsyncSession`` (await the call) or a ``Session`` (don't), or a scoped session. It is flushed
        first.
    :param queue: the name of a queue, or several. Default: all queues.
    :param with_scheduled: run scheduled and retryable jobs that are not due yet: True for all, an aware datetime for
        those due by then. Default False: only jobs that are due by the real clock.
    :param until: move the time of the jobs to this moment, an aware datetime, or by a timedelta or seconds: jobs that
        sleep, snooze, are scheduled or retried run when their time has come by then, as often as it comes. Each runs as
        if it were that time; see :class:`clock`. Default: the time stays.
    :param with_recursion: run the jobs that are enqueued during the call. Default True.
    :param with_safety: True, the default: an exception is recorded as in production. False: it is recorded and then
        raised here too, and no further job runs; :class:`UnknownWorker` as well.
    :param limit: the maximum number of jobs to run. Default: no limit; jobs that enqueue each other never end then.
    :param job_logs: keep what the jobs log, as :class:`Oban` does with the same option. Default: it is not kept.
    :returns: the number of jobs per resulting state, a ``Counter``: a state without jobs counts 0. A snoozed job counts
        as scheduled, and so does one of a worker that this process doesn't know; one of a workflow or chain that is
        cancelled because another one failed counts as cancelled. Its ``errors`` are the exceptions of the jobs that
        failed; they are part of its ``repr``, so that a failing ``assert`` shows them, and are logged with tracebacks.
    :raises InvalidOption: for a session, queue, time or limit of another type, and for both `until` and
        `with_scheduled`. Also if a job needs an ``AsyncSession`` and the test has a ``Session``, or a resource that
        :func:`resources` does not provide; that job is available as before.
    :raises ObanError: if a coroutine has to run for a ``Session`` while an event loop runs in this thread, or if a
        timeout interrupted a coroutine in the middle of a statement and the driver closed the connection.

    Coroutines run on the test's event loop (with a ``Session``: on a new one). Plain functions run in the calling
    thread: they block the event loop, and must not start another one. The name and the options are those of Oban's
    ``drain_queue``.
    """
    job_logs = checked_job_logs(job_logs, "drain")
    chosen = Choice(queues=_queues(queue), until=due_by(with_scheduled))
    end = None if until is None else end_of(until, with_scheduled)
    return in_session(session, "drain", _drain, chosen, end, with_recursion, with_safety, _most(limit), job_logs)


class Drained(Counter[str]):
    """What :func:`drain` returns: the number of jobs per resulting state.

    :ivar errors: what the jobs that failed have raised, in the order in which they ran.
    """

    def __init__(self, counts: Mapping[str, int] | None = None) -> None:
        super().__init__(counts)
        self.errors: list[BaseException] = []

    def __repr__(self) -> str:
        errors = f", errors={self.errors!r}" if self.errors else ""
        return f"{type(self).__name__}({dict(self)!r}{errors})"


@dataclass(slots=True)
class Choice:
    """Which jobs to run.

    :ivar queues: of these queues; None for all.
    :ivar until: scheduled ones that are due by then, in naive UTC; None for now.
    :ivar among: with these ids; None for all.
    """

    queues: list[str] | None = None
    until: datetime | None = None
    among: list[int] | None = None


class Drainer:
    """Runs jobs in `session`, each at most once until :meth:`move`.

    :param with_safety: False to raise what a job has raised.
    :param job_logs: whether the logs of the jobs are kept. Default: they are not.
    """

    def __init__(self, session: Session, with_safety: bool, job_logs: JobLogs | None = None) -> None:
        time = current_clock()
        self.counts = Drained()
        self.runs = 0
        """How many jobs have run. Written by `run_next`."""
        self.time: datetime | None = None if time is None else naive_utc(time.now)
        """What time it is for the jobs, in naive UTC; None for the real one. Written by `move`."""
        self._ran: list[int] = []
        self._left: list[int] = []
        """Jobs that this process can't run, now or later. Written by `run_next`."""
        self._states: dict[int, str] = {}
        """How the jobs are that have run. Written by `_count`."""
        self._savepoint: Savepoint | None = None
        """Of the job that runs. Written by `_see_through` and `_renew`."""
        self._session = session
        self._with_safety = with_safety
        self._job_logs = job_logs
        self._attempted_by = [NODE, str(uuid4())]

    def run_next(self, chosen: Choice) -> bool:
        """Run the next job; False when there is none, and nothing that has happened makes one possible."""
        row = self._take(chosen)
        if row is None:
            found, cancelled = release(self._session, chosen.queues, chosen.among)
            for job_id in cancelled:
                self._count(job_id, "cancelled")
            row = self._take(chosen) if found else None
        if row is None:
            return False
        self._ran.append(row.id)
        self.runs += 1
        moment = self._moment(row, chosen)
        store = InTransaction(connection_of(self._session), moment)
        joined = Joined(self._session, lambda: self._renew(store))
        others = self._take_with(row, chosen)
        with kept_apart(self._job_logs) as journals:
            trial = Trial(row, joined, store, others, groups_of(self._session, row), journals)
            self._see_through(trial, store, moment)
        if trial.attempt.unknown or any(is_unopened(ack) for ack in trial.acks):
            self._left.append(row.id)
        state: str | None = None
        for job_id in (*(other.id for other in others), row.id):
            state = state_of.execute(connection_of(self._session), id=job_id).scalar()
            self._count(job_id, state)
        if state is not None and trial.attempt.tells:
            write_told(connection_of(self._session), trial.attempt.journal)
        if trial.refused is not None:
            raise trial.refused
        self._raise_unless_safe(trial)
        return True

    def waiting(self, chosen: Choice) -> list[int]:
        """The ids of the jobs that could run now."""
        connection = connection_of(self._session)
        rows = runnable.execute(connection, queues=chosen.queues, until=chosen.until, among=chosen.among)
        return list(rows.scalars())

    def move(self, chosen: Choice, end: datetime) -> bool:
        """Move the time to the next moment at which a job is due; False when there is none up to `end`."""
        connection, time = connection_of(self._session), self.time or real_time()
        given = {
            "queues": chosen.queues,
            "among": chosen.among,
            "left": self._left,
            "since": time.replace(tzinfo=UTC),
            "until": end.replace(tzinfo=UTC),
        }
        found = next_due.execute(connection, **given).scalar()
        self.time = end if found is None else naive_utc(found)
        self._ran.clear()
        return found is not None

    def _moment(self, row: Row, chosen: Choice) -> datetime | None:
        """What time it is for the job: also the time for which it was scheduled, if it runs ahead of that."""
        if chosen.until is not None and row.scheduled_at > (self.time or real_time()):
            return row.scheduled_at
        return self.time

    def _count(self, job_id: int, state: str | None) -> None:
        if (before := self._states.pop(job_id, None)) is not None:
            self.counts[before] -= 1
            self.counts += Counter()  # without what is none
        if state is not None:  # it may have deleted itself
            self._states[job_id] = state
            self.counts[state] += 1

    def _take(self, chosen: Choice) -> Row | None:
        found = take.execute(
            connection_of(self._session),
            queues=chosen.queues,
            until=self.time if chosen.until is None else chosen.until,
            among=chosen.among,
            ran=self._ran + self._left,
            attempted_by=self._attempted_by,
        ).one_or_none()
        return None if found is None else row_of(*found, self._attempted_by)

    def _take_with(self, row: Row, chosen: Choice) -> list[Row]:
        """Take the jobs that run together with the one in `row`, in one call."""
        if not (limit := most_with(row)):
            return []
        asked = groups_asked(row)
        found = take_with.execute(
            connection_of(self._session),
            queues=chosen.queues,
            until=self.time if chosen.until is None else chosen.until,
            among=chosen.among,
            ran=self._ran + self._left,
            leader=row.id,
            of_batch=Batch in asked,
            of_flow=Workflow in asked,
            limit=limit,
            attempted_by=self._attempted_by,
        ).all()
        rows = [row_of(*each, self._attempted_by) for each in found]
        self._ran += [each.id for each in rows]
        return rows

    def _renew(self, store: InTransaction) -> None:
        """A step has committed: what the job does from now on may be rolled back, and nothing before."""
        store.committed()
        if self._savepoint is not None:
            self._savepoint.end(keep=True)
            self._savepoint = Savepoint(self._session)

    def _see_through(self, trial: Trial, store: InTransaction, moment: datetime | None) -> None:
        self._savepoint = Savepoint(self._session)
        connection = connection_of(self._session)
        try:
            trial.run_here(on_loop=connection.dialect.is_async)
        except BaseException:
            with suppress(SQLAlchemyError):
                self._savepoint.end(keep=False)
            raise
        if connection.invalidated:
            raise ObanError(
                f"job {trial.row.id} ({trial.row.worker}) was stopped inside of a statement, and the driver closed the "
                "test's connection with it; give the job a longer timeout, or wait for something else in this test"
            ) from trial.error
        acks = trial.acks if trial.refused is None else [given_back(each) for each in trial.rows]
        if trial.refused is None and (not acks or any(ack.state not in LOST for ack in acks)):
            try:
                self._acknowledge(acks, moment)
                self._savepoint.end(keep=True)
                return
            except DBAPIError:  # the job has hidden an error of the database, which has spoilt its work
                text = "job %d left the transaction in an error; it was rolled back"
                telemetry.job_logger.warning(text, trial.row.id, extra=trial.row.log_extra)
        self._savepoint.end(keep=False)
        store.restore()
        self._acknowledge(acks, moment)

    def _acknowledge(self, acks: Sequence[Ack], moment: datetime | None) -> None:
        for ack in acks:
            self._acknowledge_one(ack, moment)

    def _acknowledge_one(self, ack: Ack, moment: datetime | None) -> None:
        if ack.delay is not None and (moment is not None or not ack.keeps):
            # From the job's time, by which it fell asleep, and not from the time at which the transaction began.
            began = begun_at.execute(connection_of(self._session)).scalar_one()
            ack = replace(ack, delay=ack.delay + ((moment or real_time()) - began).total_seconds())
        statement = complete if ack.is_plain else acknowledge
        if not statement.execute(connection_of(self._session), **parameters(statement, [ack])).all():
            known = {"job_id": ack.id, "queue": ack.queue, "attempt": ack.attempt}
            telemetry.job_logger.warning(
                "job %d, attempt %d: it was changed while it ran", ack.id, ack.attempt, extra=known
            )
            telemetry.execute("oban.fenced", job_id=ack.id, attempt=ack.attempt, queue=ack.queue)

    def _raise_unless_safe(self, trial: Trial) -> None:
        if trial.attempt.unknown:
            message = f"no worker named {trial.row.worker!r} is registered in this process; import its module"
            if not self._with_safety:
                raise UnknownWorker(message)
            telemetry.job_logger.warning("job %d was given back: %s", trial.row.id, message, extra=trial.row.log_extra)
        if trial.error is not None and not isinstance(trial.error, Outcome):
            self.counts.errors.append(trial.error)
            if not self._with_safety:
                raise trial.error


def _drain(
    session: Session,
    chosen: Choice,
    end: datetime | None,
    with_recursion: bool,
    with_safety: bool,
    limit: int | None,
    job_logs: JobLogs | None,
) -> Drained:
    session.flush()
    drainer = Drainer(session, with_safety, job_logs)
    if end is not None and drainer.time is None:
        drainer.time = real_time()  # from now on only what is due next moves it
    if not with_recursion:
        chosen.among = drainer.waiting(chosen)
    try:
        while limit is None or drainer.runs < limit:
            if not drainer.run_next(chosen) and (end is None or not drainer.move(chosen, end)):
                break
    finally:
        if drainer.runs and not connection_of(session).invalidated:
            _reload(session)
    if not drainer.runs and limit != 0:
        tell_idle(session, chosen.queues)
    if end is not None and (time := current_clock()) is not None:
        time.move_to(max(time.now, end.replace(tzinfo=UTC)))
    return drainer.counts


def _reload(session: Session) -> None:
    """Read the column values of the session's objects again; relationships stay as they were loaded."""
    for instance in list(session.identity_map.values()):
        found: InstanceState[Any] = inspect(instance)
        loaded = [column.key for column in found.mapper.column_attrs if column.key in found.dict]
        try:
            session.refresh(instance, loaded or None)
        except InvalidRequestError:  # its row is gone
            session.expire(instance)


def _queues(queue: object) -> list[str] | None:
    if queue is None:
        return None
    if isinstance(queue, str) or not isinstance(queue, Collection):
        return [check_name("drain(queue)", queue)]
    names = list(cast(Collection[object], queue))
    return [check_name("drain(queue)", name) for name in names]


def _most(limit: object) -> int | None:
    if limit is None or (isinstance(limit, int) and not isinstance(limit, bool) and limit >= 0):
        return limit
    raise InvalidOption(f"drain: limit must be a number of jobs, 0 or more, or None for no limit; got {limit!r}")


__all__ = ["Choice", "Drainer", "drain"]
