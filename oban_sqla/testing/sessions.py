"""The sessions of a test: the one that it passes, and the ones that its jobs get."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, inspect
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_session
from sqlalchemy.orm import Session

from ..errors import InvalidOption
from ..models import Job
from ..runtime.sessions import Sessions, allow_commit, decided, refuse_commit
from ..workers.outcomes import Cancel, Discard
from .savepoint import Savepoint

if TYPE_CHECKING:
    from ..runtime.attempt import Attempt
    from ..workers.worker import Worker

P = ParamSpec("P")
T = TypeVar("T")


def in_session(
    session: AsyncSession | Session,
    what: str,
    fn: Callable[Concatenate[Session, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> Any:
    """``fn(session, …)`` for a ``Session``, an awaitable of the same for an ``AsyncSession``.

    :param what: the name of the public function, for the error.
    :raises InvalidOption: for anything else.
    """
    if isinstance(session, AsyncSession):
        return session.run_sync(fn, *args, **kwargs)
    if isinstance(session, Session):  # pyright: ignore[reportUnnecessaryIsInstance]
        return fn(session, *args, **kwargs)
    raise InvalidOption(f"{what}: expected an AsyncSession or a Session first, got {session!r}")


def connection_of(session: Session) -> Connection:
    """The connection on which the session's jobs are."""
    return session.connection(bind_arguments={"mapper": inspect(Job)})


class Joined(Sessions):
    """Gives each job a new session on the connection of the test's one, in a savepoint of its own.

    Its commit releases that savepoint and its rollback rolls back to it; the transaction stays the test's. It is of
    the test's session's class, with the same `autoflush` and `expire_on_commit`.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(None)
        self._session = session
        self.refused: InvalidOption | None = None
        """Why a job could not have the session that it asked for: the test's mistake, not the job's."""

    def open(self, kind: type) -> AsyncSession | Session:
        session = self._session
        connection = connection_of(session)
        options: dict[str, Any] = {
            "join_transaction_mode": "create_savepoint",
            "autoflush": session.autoflush,
            "expire_on_commit": session.expire_on_commit,
        }
        if kind is Session:
            return type(session)(bind=connection, **options)
        outer = async_session(session)
        if outer is None:
            self.refused = InvalidOption(
                "the job asks for an AsyncSession, which can't work on the connection of a Session; "
                "use an AsyncSession in this test"
            )
            raise self.refused
        bind = AsyncConnection(AsyncEngine(connection.engine), connection)
        return type(outer)(bind=bind, sync_session_class=type(session), **options)


class Given(Sessions):
    """Hands the test's own session to the job, in a savepoint that is rolled back where the runtime would roll back.

    :param session: None when the test has none.
    """

    def __init__(self, session: AsyncSession | Session | None) -> None:
        super().__init__(None)
        self._session = session

    def open(self, kind: type) -> AsyncSession | Session:
        session = self._session
        if session is None or not isinstance(session, kind):
            got = "none was given" if session is None else f"got a {type(session).__name__}"
            raise InvalidOption(
                f"perform: the job asks for {kind.__name__}, {got}; "
                f"pass one: perform(spec, session=session), with an instance of {kind.__name__}"
            )
        return session

    async def run(
        self,
        session: AsyncSession | Session,
        attempt: Attempt,
        worker: Worker,
        runner: Callable[[], Coroutine[Any, Any, Any]],
    ) -> Any:
        async def do(fn: Callable[[Session], T]) -> T:
            return await session.run_sync(fn) if isinstance(session, AsyncSession) else fn(session)

        savepoint = await do(Savepoint)
        kept = False
        try:
            await do(refuse_commit)
            value = await decided(runner)
            attempt.outcome(value, worker)  # raises where the run will count as failed
            kept = not attempt.timed_out and not isinstance(value, Cancel | Discard)
            return value
        finally:
            await do(allow_commit)
            await do(lambda _: savepoint.end(kept))
