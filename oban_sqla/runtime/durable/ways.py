"""How a step is called and kept: by a coroutine, which may suspend, or by a plain function, which blocks."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from ...errors import InvalidOption
from ...statements.statement import Statement
from ..exits import held, raised
from ..sessions import Sessions
from .call import StepCall
from .store import Store

T = TypeVar("T")
Mark = Callable[[Connection], bool]
"""Writes the mark of a step; False when another run has written it."""


class Way(Protocol):
    """How one kind of function, coroutines or plain functions, takes its steps."""

    @property
    def lives(self) -> bool: ...

    def alone(self) -> AbstractAsyncContextManager[None]:
        """A block that one task, or thread, of the job enters after the other."""
        ...

    async def run(self, statement: Statement, /, **parameters: Any) -> Sequence[Any]:
        """Execute a statement of a store, to its end even while being cancelled."""
        ...

    async def whole(self, call: StepCall, work: Coroutine[Any, Any, T]) -> T:
        """Do the call of a step and what follows from it; together where no cancellation reaches the call."""
        ...

    async def call(self, call: StepCall, make: Callable[[], Any]) -> Any:
        """Call the function of a step, and return its value."""
        ...

    async def open(self, sessions: Sessions, kind: type) -> AsyncSession | Session: ...

    async def finish(self, sessions: Sessions, session: AsyncSession | Session, mark: Mark) -> bool:
        """Commit a step with a session, its mark last; False when another run has committed it."""
        ...

    async def close(self, sessions: Sessions, session: AsyncSession | Session) -> None: ...

    async def heard(self, job_id: int, seconds: float) -> None:
        """Return when a signal may have been sent to the job, at the latest after `seconds`."""
        ...

    async def pause(self, seconds: float) -> None: ...


class Suspending:
    """How a coroutine takes its steps: it awaits them.

    :param store: where steps are kept.
    :param do: calls a plain function where it may block.
    """

    def __init__(self, store: Store, do: Callable[[Callable[[], None]], Awaitable[None]]) -> None:
        # Given, and never written again.
        self._store = store
        self._do = do
        self._alone = asyncio.Lock()

    @property
    def lives(self) -> bool:
        return self._store.lives

    def alone(self) -> AbstractAsyncContextManager[None]:
        return self._alone

    async def run(self, statement: Statement, /, **parameters: Any) -> Sequence[Any]:
        return await uncut(self._store.run(statement, **parameters))

    async def whole(self, call: StepCall, work: Coroutine[Any, Any, T]) -> T:
        return await (work if call.is_async else uncut(work))

    async def call(self, call: StepCall, make: Callable[[], Any]) -> Any:
        if call.is_async:
            return await make()
        values: list[Any] = []
        await self._do(lambda: values.append(make()))
        value = values[0]
        return await value if inspect.isawaitable(value) else value

    async def open(self, sessions: Sessions, kind: type) -> AsyncSession | Session:
        return await sessions.open(kind)

    async def finish(self, sessions: Sessions, session: AsyncSession | Session, mark: Mark) -> bool:
        return await uncut(sessions.complete_step(session, mark))

    async def close(self, sessions: Sessions, session: AsyncSession | Session) -> None:
        await sessions.close(session)

    async def heard(self, job_id: int, seconds: float) -> None:
        await self._store.heard(job_id, seconds)

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Blocking:
    """How a plain function takes its steps: nothing here suspends, so that it needs no event loop.

    :param store: where steps are kept.
    """

    def __init__(self, store: Store) -> None:
        # Given, and never written again.
        self._store = store.blocking
        self._alone = threading.Lock()

    @property
    def lives(self) -> bool:
        return self._store.lives

    @asynccontextmanager
    async def alone(self) -> AsyncGenerator[None]:
        with self._alone:
            yield

    async def run(self, statement: Statement, /, **parameters: Any) -> Sequence[Any]:
        return await self._store.run(statement, **parameters)

    async def whole(self, call: StepCall, work: Coroutine[Any, Any, T]) -> T:
        return await work

    async def call(self, call: StepCall, make: Callable[[], Any]) -> Any:
        value = make()
        if inspect.isawaitable(value):
            if inspect.iscoroutine(value):
                value.close()
            raise InvalidOption(
                f"step {call.name!r}: a coroutine function, called by a plain one; make the job a coroutine function "
                "and use oban_sqla.durable, or give the step a plain function"
            )
        return value

    async def open(self, sessions: Sessions, kind: type) -> AsyncSession | Session:
        if not issubclass(kind, Session):
            raise InvalidOption(
                "a step that a plain function calls asks for an AsyncSession; let it ask for a Session, "
                "or make the job a coroutine function and use oban_sqla.durable"
            )
        return await sessions.open(kind)

    async def finish(self, sessions: Sessions, session: AsyncSession | Session, mark: Mark) -> bool:
        assert isinstance(session, Session)
        return sessions.complete_step_here(session, mark)

    async def close(self, sessions: Sessions, session: AsyncSession | Session) -> None:
        assert isinstance(session, Session)
        sessions.close_here(session)

    async def heard(self, job_id: int, seconds: float) -> None:
        await self._store.heard(job_id, seconds)

    async def pause(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 (a plain function blocks)


async def uncut(work: Awaitable[T]) -> T:
    """What comes of `work`, to its end even while being cancelled; the cancellation is raised then.

    What is written of a step whose effect is there has to be written whatever becomes of the job.
    """
    task = asyncio.ensure_future(held(work))
    cut: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as error:
            cut = error
    if cut is not None and (task.cancelled() or task.exception() is None):
        raise cut
    return raised(task.result())
