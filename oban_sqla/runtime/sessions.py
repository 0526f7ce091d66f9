"""The session of a job that asks for one: its commit also completes the job.

The completion is the last statement of the job's own transaction, fenced like every ack, so the effects of the job on
the database happen exactly once, at no extra commit. (River's JobCompleteTx and DBOS's transactional steps do the same
by hand.)
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from typing import Any, TypeAlias, TypeVar, cast

from sqlalchemy import Connection, event, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, SessionTransaction

from ..enqueueing.binds import FOR_WRITING
from ..enqueueing.driver import is_autocommit
from ..enqueueing.unit_of_work import OWN
from ..errors import Fenced, InvalidOption, ObanError
from ..options.sessionmakers import AUTOCOMMIT, SessionMaker, maker_for, named_kind, what_makes
from ..statements.ack import acknowledge, complete, still_ours, wait_for
from ..statements.statement import Statement
from .acks import Ack, parameters
from .exits import held, raised
from .grafting import attach
from .lanes.driver import cut

T = TypeVar("T")
Blocking: TypeAlias = Callable[[Callable[[], None]], Awaitable[None]]
"""Calls a function where it may block, and waits for its end whatever happens."""

Load: TypeAlias = Callable[[Session], None]
"""Loads something in a session."""

LONGEST_END = 60.0
"""Seconds after which a server is given up that does not answer what ends a session: a job would never end."""

_IN_JOB, _BEGUN = "oban_sqla.job", "oban_sqla.begun"
_CLOSED, _UNDONE = "oban_sqla.closed", "oban_sqla.undone"
_DRIVERS = "oban_sqla.drivers"


class Sessions:
    """Opens sessions for jobs, and ends them by the verdict on the job.

    :param makers: the sessionmakers of the runtime, or what gives them when the first session is opened.
    :param blocking: where a plain ``Session`` commits and closes.
    """

    def __init__(
        self, *, makers: Sequence[SessionMaker] | Callable[[], Sequence[SessionMaker]], blocking: Blocking
    ) -> None:
        # Given, and never written again.
        self.given: Sequence[object] = ()
        self._makers = makers
        self._blocking = blocking

    @property
    def _all_makers(self) -> Sequence[SessionMaker]:
        return self._makers() if callable(self._makers) else self._makers

    @property
    def blocking(self) -> Blocking:
        """Where plain functions may block."""
        return self._blocking

    def is_in_transaction(self, session: AsyncSession | Session) -> bool:
        """Whether a session that :meth:`open` has opened may hold locks."""
        return session.in_transaction()

    async def open(self, kind: type) -> AsyncSession | Session:
        """A session of `kind`, whose ``commit()`` raises while the job has it.

        :raises InvalidOption: when the runtime has no sessionmaker of that kind.
        """
        maker = maker_for(kind, self._all_makers)
        if maker is None:
            raise InvalidOption(
                f"the job asks for a session of the kind {named_kind(kind)}, and no sessionmaker makes one; "
                f"give it one: Oban(engine, sessionmaker={what_makes(kind)})"
            )
        session = _made(maker)
        refuse_commit(session)
        return session

    async def complete(self, session: AsyncSession | Session, *acks: Ack) -> None:
        """Acknowledge the job, or all jobs of a chunk, and commit what was done, in one transaction.

        :raises FencedOut: when a job was given to another run; everything was rolled back.
        """
        with _in_time(session):
            if isinstance(session, AsyncSession):
                await _to_its_end(session.run_sync(_finish, acks))
            else:
                await self._blocking(lambda: _finish(session, acks))

    async def within(self, session: AsyncSession | Session, load: Load) -> None:
        """Load something in a job's session."""
        if isinstance(session, AsyncSession):
            await session.run_sync(load)
        else:
            await self._blocking(lambda: load(session))

    async def apart(self, load: Load, *, on_loop: bool) -> None:
        """Load something in a session that is closed again; what was loaded stays, detached.

        :param on_loop: whether the job itself runs on an event loop.
        :raises InvalidOption: when there is no sessionmaker.
        """
        session = self._for_loading(on_loop)
        with _in_time(session):
            if isinstance(session, AsyncSession):
                try:
                    await session.run_sync(load)
                    session.expunge_all()
                finally:
                    await _to_its_end(session.close())
            else:
                await self._blocking(lambda: _load_and_close(session, load))

    def _for_loading(self, on_loop: bool) -> AsyncSession | Session:
        if not (makers := self._all_makers):
            raise InvalidOption(
                "the job has instances of mapped classes as arguments, and the process that runs it has no "
                "sessionmaker to load them with; run it in the node, or in its child processes"
            )
        return _made(makers[0])

    async def graft(self, ack: Ack) -> bool:
        """Write the workflow that the job has returned, and acknowledge it, in a transaction apart.

        :returns: whether the ack was written.
        :raises Fenced: when the job was given to another run; nothing was written.
        """
        session = self._separate()
        try:
            await self.complete(session, ack)
        finally:
            await self.close(session)
        return True

    async def separately(self, work: Callable[[Session], T]) -> T:
        """Do `work` in a transaction apart from that of a job."""
        session = self._separate()
        with _in_time(session):
            if isinstance(session, AsyncSession):
                async with session, session.begin():
                    return await session.run_sync(work)
            done: list[T] = []

            def run() -> None:
                with session, session.begin():
                    done.append(work(session))

            await self._blocking(run)
            return done[0]

    def _separate(self) -> AsyncSession | Session:
        maker = maker_for(AsyncSession, self._all_makers) or maker_for(Session, self._all_makers)
        if maker is None:
            raise InvalidOption(
                "a job that returns a workflow, or appends to one, needs a sessionmaker in its process: "
                "Oban(engine, sessionmaker=…), and for children Processes(sessionmaker='module:name')"
            )
        return _made(maker)

    async def complete_step(self, session: AsyncSession | Session, mark: Callable[[Connection], bool]) -> bool:
        """Commit a step of a job together with its mark.

        :param mark: writes it; False when another run of the job has written it. Then everything is rolled back.
        """
        if isinstance(session, AsyncSession):
            return await session.run_sync(self.complete_step_here, mark)
        done: list[bool] = []
        await self._blocking(lambda: done.append(self.complete_step_here(session, mark)))
        return done[0]

    def complete_step_here(self, session: Session, mark: Callable[[Connection], bool]) -> bool:
        """The same, where it may block."""
        with _in_time(session):
            return _finish_step(session, mark)

    async def close(self, session: AsyncSession | Session) -> None:
        """The end of :meth:`open`. What was not completed is rolled back."""
        with _in_time(session):
            if isinstance(session, AsyncSession):
                await _to_its_end(session.close())
            else:
                await self._blocking(session.close)

    def close_here(self, session: Session) -> None:
        """The same, where it may block."""
        with _in_time(session):
            session.close()


def _load_and_close(session: Session, load: Load) -> None:
    with session:
        load(session)
        session.expunge_all()


def _made(maker: SessionMaker) -> AsyncSession | Session:
    session = maker()
    assert isinstance(session, AsyncSession | Session)
    session.info[_DRIVERS] = {}
    return session


@contextlib.contextmanager
def _in_time(session: AsyncSession | Session) -> Generator[None]:
    """Cut the connections of `session` if this takes too long. What it was doing fails then, as with any lost line."""
    drivers = session.info.get(_DRIVERS, {})
    timer: asyncio.TimerHandle | threading.Timer
    try:
        timer = asyncio.get_running_loop().call_later(LONGEST_END, _cut, drivers)
    except RuntimeError:  # a plain function in its thread, or a drain without an event loop
        timer = threading.Timer(LONGEST_END, _cut, (drivers,))
        timer.daemon = True
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _cut(drivers: dict[Connection, Any]) -> None:
    for driver in list(drivers.values()):
        cut(driver)


async def _to_its_end(work: Coroutine[Any, Any, Any]) -> None:
    """Wait for `work` even while being cancelled: a statement that is cut off may leave its connection unusable."""
    task = asyncio.ensure_future(held(work))
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    raised(task.result())


class FencedOut(Fenced):
    """A :class:`Fenced` that knows the ids of the jobs that another run has."""

    def __init__(self, message: str, ids: frozenset[int]) -> None:
        super().__init__(message)
        self.ids = ids


def _flushed(session: Session) -> Connection:
    """The connection on which the last statement of the session's transaction may follow."""
    session.flush()
    refuse_ended(session)
    connection = session.connection(bind_arguments=FOR_WRITING)
    _refuse_work_elsewhere(session, connection)
    return connection


def _finish_step(session: Session, mark: Callable[[Connection], bool]) -> bool:
    connection = _flushed(session)
    if not mark(connection):
        session.rollback()
        return False
    allow_commit(session)
    session.commit()
    return True


def _finish(session: Session, acks: Sequence[Ack]) -> None:
    for ack in acks:
        if ack.graft is not None:
            session.flush()
            refuse_ended(session)
            attach(session, ack)
    connection = _flushed(session)
    for statement, plain in ((complete, True), (acknowledge, False)):
        if some := [ack for ack in acks if ack.is_plain is plain]:
            _acknowledge(session, connection, statement, some)
    allow_commit(session)
    session.commit()


def _acknowledge(session: Session, connection: Connection, statement: Statement, acks: Sequence[Ack]) -> None:
    missing = _unchanged(connection, statement, acks)
    if missing and still_ours.execute(connection, **parameters(still_ours, missing)).all():
        # Another transaction holds a row. An ack could come back later; this transaction has to wait.
        for ack in sorted(missing, key=lambda ack: ack.id):
            wait_for.execute(connection, id=ack.id)
        missing = _unchanged(connection, statement, missing)
    if missing:
        session.rollback()
        named = "; ".join(f"job {ack.id}, attempt {ack.attempt}" for ack in missing)
        whose = "its" if len(acks) == 1 else "the chunk's"
        text = f"{named}: given to another run, or deleted; {whose} effects were rolled back"
        raise FencedOut(text, frozenset(ack.id for ack in missing))


def _unchanged(connection: Connection, statement: Statement, acks: Sequence[Ack]) -> list[Ack]:
    """Write `acks`. Returns those that changed nothing."""
    changed = {row[0] for row in statement.execute(connection, **parameters(statement, acks))}
    return [ack for ack in acks if ack.id not in changed]


def refuse_ended(session: Session) -> None:
    """Refuse to complete a job that has ended the transaction in which it wrote.

    :raises ObanError: saying what the job did.
    """
    if session.info.get(_CLOSED):
        raise ObanError(
            "the job closed its session (close(), or `async with session:`), which rolled back what it had written; "
            "the runtime closes the session of a job, so leave that to it"
        )
    for connection, begun in cast(dict[Connection, object], session.info.get(_BEGUN, {})).items():
        if connection.closed or connection.get_transaction() is not begun:
            raise ObanError(
                "the job ended the transaction of its session by the connection (connection.commit() or rollback()); "
                "the runtime commits it together with the job's completion. Use session.begin_nested() for a part "
                "that may fail, or another session"
            )


def _refuse_work_elsewhere(session: Session, connection: Connection) -> None:
    """Refuse to complete a job in another transaction than the one in which it wrote.

    :raises ObanError: naming the other database.
    """
    for other in cast(dict[Connection, object], session.info.get(_BEGUN, {})):
        if other is connection or other.engine is connection.engine:
            continue
        is_postgresql = other.dialect.name == "postgresql"
        if is_postgresql and other.scalar(select(func.pg_current_xact_id_if_assigned())) is None:
            continue  # it has only read there
        raise ObanError(
            f"the job wrote to another database ({other.engine.url.render_as_string()}) than the one that has the "
            "jobs, so its effects and its completion can't be one transaction. Write there in a session that the job "
            "opens, where a second run must do no harm"
        )


def refuse_commit(session: AsyncSession | Session) -> None:
    """From now on a job has the session, and may commit only its own savepoints."""
    plain = session.sync_session if isinstance(session, AsyncSession) else session
    plain.info[_IN_JOB] = plain.get_nested_transaction()
    plain.info[_BEGUN] = {}
    plain.info[OWN] = set()
    for key in (_CLOSED, _UNDONE):
        plain.info.pop(key, None)


def allow_commit(session: AsyncSession | Session) -> None:
    """The end of :func:`refuse_commit`."""
    for key in (_IN_JOB, _BEGUN, _CLOSED, _UNDONE, OWN):
        session.info.pop(key, None)


@event.listens_for(Session, "after_begin")
def _note_begin(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    if transaction.nested:
        return
    if _IN_JOB in session.info:
        if is_autocommit(connection):
            raise InvalidOption(AUTOCOMMIT)
        session.info[_BEGUN][connection] = connection.get_transaction()
    if _DRIVERS in session.info:
        session.info[_DRIVERS][connection] = connection.connection.driver_connection


@event.listens_for(Session, "after_rollback")
def _note_rollback(session: Session) -> None:
    # Of savepoints, too, after which what was written before them still counts.
    if _IN_JOB in session.info and session.get_nested_transaction() in (None, session.info[_IN_JOB]):
        session.info[_BEGUN] = {}  # by session.rollback(), as the job may: what it writes from now on counts
        session.info[_UNDONE] = True


@event.listens_for(Session, "after_transaction_end")
def _note_end(session: Session, transaction: SessionTransaction) -> None:
    # A session that is closed rolls back without telling those who listen to rollbacks. What it has begun may have
    # no connection yet: objects were added, and lost before a flush.
    if transaction.parent is None and _DRIVERS in session.info:
        session.info[_DRIVERS].clear()  # they are the pool's again
    if _IN_JOB in session.info and transaction.parent is None and not session.info.pop(_UNDONE, False):
        session.info[_CLOSED] = True


@event.listens_for(Session, "before_commit")
def _refuse_commit(session: Session) -> None:
    if _IN_JOB in session.info and session.get_nested_transaction() is session.info[_IN_JOB]:
        raise ObanError(
            "commit() inside a job: the runtime commits this session when the job ends, together with the job's "
            "completion; use begin_nested() for a part that may fail, or another session"
        )
