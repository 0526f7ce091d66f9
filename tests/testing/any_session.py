"""One test for all kinds of sessions."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Callable
from typing import Any

from sqlalchemy import create_engine, make_url, select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from tests.testing.app import Base, User

KINDS = ["asyncpg", "psycopg", "plain"]


class AnySession:
    """A session in a transaction that is rolled back, and a loop for it when it is asynchronous.

    ``any_session(fn, …)`` is ``fn(session, …)``, awaited where it has to be.
    """

    def __init__(self, url: str, kind: str) -> None:
        driver = "psycopg" if kind == "plain" else kind
        self.is_async = kind != "plain"
        self.url = make_url(url).set(drivername=f"postgresql+{driver}")
        self.runner = asyncio.Runner()
        self.engine: Any = create_async_engine(self.url) if self.is_async else create_engine(self.url)
        self.wait(self._open())

    def wait(self, awaitable: Any) -> Any:
        async def waited() -> Any:
            return await awaitable

        if not inspect.isawaitable(awaitable):
            return awaitable
        if self.is_async:
            return self.runner.run(waited(), context=contextvars.copy_context())
        try:
            awaitable.send(None)  # type: ignore[attr-defined]
        except StopIteration as end:
            return end.value
        raise AssertionError("a plain session waits for nothing")

    async def _open(self) -> None:
        if self.is_async:
            self.connection: Any = await self.engine.connect()
            self.outer: Any = await self.connection.begin()
            await self.connection.run_sync(Base.metadata.create_all)
            self.session: Any = AsyncSession(
                self.connection, join_transaction_mode="create_savepoint", expire_on_commit=False
            )
        else:
            self.connection = self.engine.connect()
            self.outer = self.connection.begin()
            Base.metadata.create_all(self.connection)
            self.session = Session(self.connection, join_transaction_mode="create_savepoint", expire_on_commit=False)

    async def _close(self) -> None:
        for closing in (self.session.close, self.outer.rollback, self.connection.close, self.engine.dispose):
            if inspect.isawaitable(result := closing()):
                await result

    def close(self) -> None:
        self.wait(self._close())
        self.runner.close()

    def __call__(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self.wait(fn(self.session, *args, **kwargs))

    def sync(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """``fn(session, …)`` with the plain session, here or below the asynchronous one."""
        return self.wait(self.session.run_sync(fn, *args, **kwargs)) if self.is_async else fn(self.session, *args)

    def add(self, *objects: Any) -> None:
        self.session.add_all(objects)
        self.wait(self.session.flush())

    def commit(self) -> None:
        self.wait(self.session.commit())

    def scalars(self, query: Any) -> list[Any]:
        return list(self.wait(self.session.scalars(query)))

    @property
    def names(self) -> list[str]:
        return self.scalars(select(User.name).order_by(User.id))
