"""The sessions that users pass, of all kinds, and the awaitables that they get."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session

from ..errors import InvalidOption
from ..options.instance import told

SomeAsyncSession = AsyncSession | async_scoped_session[Any]
SomeSession = Session | scoped_session[Any]
AnySession = SomeAsyncSession | SomeSession


def current_session(given: object, what: str) -> AsyncSession | Session:
    """The session that was `given`, or the current one of a scoped session.

    :param what: the function that takes it, for the message.
    :raises InvalidOption: for anything else.
    """
    session: Any = given
    if isinstance(given, async_scoped_session | scoped_session):
        session = session()
    if isinstance(session, AsyncSession | Session):
        return session
    got = told(given)  # pyright: ignore[reportUnknownArgumentType]
    raise InvalidOption(f"{what}: expected an AsyncSession or a Session, got {got}")


def named(what: str, coroutine: Any) -> Any:
    """`coroutine` under the name of the function that made it, which Python's warning names when it is not awaited."""
    coroutine.__name__ = coroutine.__qualname__ = what
    return coroutine
