"""The sessionmakers of a node, and which of them makes the session that a job asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from ..errors import InvalidOption

AUTOCOMMIT = (
    "the engine of its session has isolation_level='AUTOCOMMIT', which commits each statement by itself, so that what "
    "a job writes and its completion can't be one transaction; give Oban(sessionmaker=…) another engine, or "
    "engine.execution_options(isolation_level='READ COMMITTED')"
)
"""What is wrong with the session of a job."""

SessionMaker = async_sessionmaker[Any] | sessionmaker[Any]


def checked_makers(given: object) -> tuple[SessionMaker, ...]:
    """What a user gave as ``sessionmaker=``: one, several, or none.

    :raises InvalidOption: for anything else.
    """
    several = cast(Sequence[object], given if isinstance(given, list | tuple) else () if given is None else (given,))
    for one in several:
        if not isinstance(one, async_sessionmaker | sessionmaker):
            raise InvalidOption(
                f"Oban: sessionmaker must be an async_sessionmaker or a sessionmaker, or a list of these, got {one!r}"
            )
    return tuple(cast(Sequence[SessionMaker], several))


def with_default(makers: tuple[SessionMaker, ...], engine: AsyncEngine) -> tuple[SessionMaker, ...]:
    """`makers`, and one on `engine` for an ``AsyncSession`` if there is none. What jobs read stays readable."""
    if any(isinstance(maker, async_sessionmaker) for maker in makers):
        return makers
    return (*makers, async_sessionmaker(engine, expire_on_commit=False))


def maker_for(kind: type, makers: Sequence[SessionMaker]) -> SessionMaker | None:
    """The first of `makers` whose sessions are of `kind`."""
    return next((maker for maker in makers if issubclass(maker.class_, kind)), None)


def named_kind(kind: type) -> str:
    """The name of `kind` for messages, by which it is not taken for another class of that name, such as SQLModel's."""
    return kind.__name__ if kind in (Session, AsyncSession) else f"{kind.__module__}.{kind.__qualname__}"


def what_makes(kind: type) -> str:
    """How to make a sessionmaker for `kind`, for messages."""
    plain = issubclass(kind, Session)
    own = "" if kind in (Session, AsyncSession) else f", class_={named_kind(kind)}"
    return f"{'sessionmaker(a synchronous engine' if plain else 'async_sessionmaker(engine'}{own})"
