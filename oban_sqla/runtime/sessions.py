"""The session of a job that asks for one: its commit also completes the job.

The completion is the last statement of the job's own transaction, fenced like every ack, so the effects of the job on
the database happen exactly once, at no extra commit. (River's JobCompleteTx and DBOS's transactional steps do the same
by hand.)
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from ..enqueueing.binds import FOR_WRITING
from ..errors import Fenced, InvalidOption
from ..options.sessionmakers import SessionMaker, maker_for, named_kind, what_makes
from ..statements.ack import acknowledge, complete, still_ours, wait_for
from ..statements.statement import Statement
from .acks import Ack, parameters
from .exits import held, raised
from .grafting import attach
from .job_session import allow_commit, refuse_commit, refuse_ended, refuse_work_elsewhere
from .lanes.settings import READ_COMMITTED
from .session_time import in_time, watch

T = TypeVar("T")
Blocking: TypeAlias = Callable[[Callable[[], None]], Awaitable[None]]
"""Calls a function where it may block, and waits for its end whatever happens."""

Load: TypeAlias = Callable[[Session], None]
"""Loads something in a session."""


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

    async def complete(self, session: AsyncSession | Session, *acks: Ack) -> bool:
        """Acknowledge the job, or all jobs of a chunk, and commit what was done, in one transaction.

        :returns: True: the acks were written.
        :raises FencedOut: when a job was given to another run; everything was rolled back.
        """
        with in_time(session):
            if isinstance(session, AsyncSession):
                await _to_its_end(session.run_sync(_finish, acks))
            else:
                await self._blocking(lambda: _finish(session, acks))
        return True

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
        with in_time(session):
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

    async def graft(self, *acks: Ack) -> bool:
        """Write the workflows that the job, or jobs of a chunk, have returned, and acknowledge it, or all of them, in a
        transaction apart.

        :returns: whether the acks were written.
        :raises FencedOut: when a job was given to another run; nothing was written.
        """
        session = self._separate()
        try:
            await self.within(session, _read_committed)
            return await self.complete(session, *acks)
        finally:
            await self.close(session)

    async def separately(self, work: Callable[[Session], T]) -> T:
        """Do `work` in a transaction apart from that of a job."""
        session = self._separate()
        with in_time(session):
            if isinstance(session, AsyncSession):
                async with session, session.begin():
                    await session.run_sync(_read_committed)
                    return await session.run_sync(work)
            done: list[T] = []

            def run() -> None:
                with session, session.begin():
                    _read_committed(session)
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
        with in_time(session):
            return _finish_step(session, mark)

    async def close(self, session: AsyncSession | Session) -> None:
        """The end of :meth:`open`. What was not completed is rolled back."""
        with in_time(session):
            if isinstance(session, AsyncSession):
                await _to_its_end(session.close())
            else:
                await self._blocking(session.close)

    def close_here(self, session: Session) -> None:
        """The same, where it may block."""
        with in_time(session):
            session.close()


def _read_committed(session: Session) -> None:
    """Let the transaction that begins see what it has waited for, whatever the level of the engine or role is."""
    session.connection(bind_arguments=FOR_WRITING, execution_options=READ_COMMITTED)


def _load_and_close(session: Session, load: Load) -> None:
    with session:
        load(session)
        session.expunge_all()


def _made(maker: SessionMaker) -> AsyncSession | Session:
    session = maker()
    assert isinstance(session, AsyncSession | Session)
    watch(session)
    return session


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
    refuse_work_elsewhere(session, connection)
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
    if any(ack.graft is not None for ack in acks):
        session.flush()
        refuse_ended(session)
        attach(session, acks)
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
