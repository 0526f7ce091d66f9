"""The sessions of a test: the one that it passes, and the ones that its jobs get."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_session
from sqlalchemy.orm import Session

from ..enqueueing.binds import FOR_WRITING, bind_to
from ..enqueueing.sessions import AnySession, current_session, named
from ..errors import InvalidOption
from ..options.sessionmakers import named_kind
from ..runtime.acks import Ack
from ..runtime.executors.inline import Inline
from ..runtime.grafting import attach
from ..runtime.job_session import allow_commit, refuse_commit, refuse_ended
from ..runtime.sessions import Load, Sessions
from .savepoint import Savepoint

P = ParamSpec("P")
T = TypeVar("T")


def in_session(
    session: AnySession,
    what: str,
    fn: Callable[Concatenate[Session, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> Any:
    """``fn(session, …)`` for a ``Session``, an awaitable of the same for an ``AsyncSession``.

    :param what: the name of the public function, for the error.
    :raises InvalidOption: for anything else.
    """
    found = current_session(session, what)
    if isinstance(found, AsyncSession):
        return named(what, found.run_sync(fn, *args, **kwargs))
    return fn(found, *args, **kwargs)


def connection_of(session: Session) -> Connection:
    """The connection on which the session's jobs are."""
    return session.connection(bind_arguments=FOR_WRITING)


class Joined(Sessions):
    """Gives each job a new session on the connection of the test's one, in its own savepoint.

    Its commit releases that savepoint and its rollback rolls back to it; the transaction stays the test's. It is of
    the test's session's class, with the same `autoflush` and `expire_on_commit`.

    :param step_done: called when a step with a session was committed.
    """

    def __init__(self, session: Session, step_done: Callable[[], None] = lambda: None) -> None:
        super().__init__(makers=(), blocking=Inline().do)
        self._session = session
        self._step_done = step_done
        self.on_loop = async_session(session) is not None
        """Whether the job runs on the event loop; set by who runs a plain function."""
        self.refused: InvalidOption | None = None
        """Why a job could not have the session that it asked for: the test's mistake, not the job's."""

    async def open(self, kind: type) -> AsyncSession | Session:
        opened = self._joined(kind)
        refuse_commit(opened)
        return opened

    def _for_loading(self, on_loop: bool) -> AsyncSession | Session:
        asynchronous = on_loop and async_session(self._session) is not None
        return self._joined(AsyncSession if asynchronous else Session)

    def complete_step_here(self, session: Session, mark: Callable[[Connection], bool]) -> bool:
        won = super().complete_step_here(session, mark)
        if won:
            self._step_done()
        return won

    def _joined(self, kind: type[Any]) -> AsyncSession | Session:
        session = self._session
        connection = connection_of(session)
        options: dict[str, Any] = {
            "join_transaction_mode": "create_savepoint",
            "autoflush": session.autoflush,
            "expire_on_commit": session.expire_on_commit,
        }
        if issubclass(kind, Session):
            made: Session = type(session)(bind=connection, **options)
            bind_to(connection, made)
            return self._of(kind, made)
        outer = async_session(session)
        if outer is None:
            self.refused = InvalidOption(
                "the job asks for an AsyncSession, which can't work on the connection of a Session; "
                "use an AsyncSession in this test"
            )
            raise self.refused
        bind = AsyncConnection(AsyncEngine(connection.engine), connection)
        opened = type(outer)(bind=bind, sync_session_class=type(session), **options)
        bind_to(connection, opened.sync_session)
        return self._of(kind, opened)

    def _of(self, kind: type[Any], made: AsyncSession | Session) -> AsyncSession | Session:
        fits = isinstance(made, kind)
        if fits:
            return made
        self.refused = InvalidOption(
            f"the job asks for a {named_kind(kind)}, and the session of this test is a {named_kind(type(made))}; "
            f"use a {named_kind(kind)} in this test"
        )
        raise self.refused

    async def graft(self, *acks: Ack) -> bool:
        await self.separately(lambda session: attach(session, acks))
        return False  # the acks follow

    async def separately(self, work: Callable[[Session], T]) -> T:
        opened = self._joined(AsyncSession if self.on_loop else Session)
        if isinstance(opened, AsyncSession):
            async with opened, opened.begin():
                return await opened.run_sync(work)
        with opened, opened.begin():
            return work(opened)


class Given(Sessions):
    """Hands the test's own session to the job, in a savepoint that is rolled back where the runtime would roll back.

    :param session: None when the test has none.
    :param given: the instances among the arguments, which the job gets as they are.
    """

    def __init__(self, session: AsyncSession | Session | None, given: Sequence[object] = ()) -> None:
        super().__init__(makers=(), blocking=Inline().do)
        self.given = given
        self._session = session
        self._savepoints: list[Savepoint | None] = []
        """Of the job, and of a step of it; None when it has been released."""

    async def open(self, kind: type) -> AsyncSession | Session:
        session = self._session
        if session is None or not isinstance(session, kind):
            got = "none was given" if session is None else f"got a {type(session).__name__}"
            raise InvalidOption(
                f"perform: the job asks for {kind.__name__}, {got}; "
                f"pass one: perform(spec, session=session), with an instance of {kind.__name__}"
            )
        self._savepoints.append(await _do(session, Savepoint))
        refuse_commit(session)
        return session

    async def apart(self, load: Load, *, on_loop: bool) -> None:
        session = self._session
        if session is None or (isinstance(session, AsyncSession) and not on_loop):
            kind = "a session" if on_loop else "a Session"
            raise InvalidOption(
                f"perform: keys are given for instances of mapped classes, and loading them needs {kind}; "
                "pass the instances themselves, or perform(spec, session=session)"
            )
        await _do(session, connection_of)
        plain = session.sync_session if isinstance(session, AsyncSession) else session
        await Joined(plain).apart(load, on_loop=on_loop)

    def is_in_transaction(self, session: AsyncSession | Session) -> bool:
        return False  # it is in the test's, whose locks are its own

    async def complete(self, session: AsyncSession | Session, *acks: Ack) -> bool:
        await _do(session, self._keep)
        return True

    async def complete_step(self, session: AsyncSession | Session, mark: Callable[[Connection], bool]) -> bool:
        await _do(session, self._keep)
        return True

    def complete_step_here(self, session: Session, mark: Callable[[Connection], bool]) -> bool:
        self._keep(session)
        return True

    async def close(self, session: AsyncSession | Session) -> None:
        await _do(session, self.close_here)

    def close_here(self, session: Session) -> None:
        allow_commit(session)
        if (savepoint := self._savepoints.pop()) is not None:
            savepoint.end(keep=False)
        if self._savepoints:  # a step has ended, and its job goes on
            refuse_commit(session)

    def _keep(self, session: Session) -> None:
        refuse_ended(session)
        allow_commit(session)
        if (savepoint := self._savepoints[-1]) is not None:
            self._savepoints[-1] = None
            savepoint.end(keep=True)


async def _do(session: AsyncSession | Session, fn: Callable[[Session], T]) -> T:
    return await session.run_sync(fn) if isinstance(session, AsyncSession) else fn(session)
