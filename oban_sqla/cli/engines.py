"""The engine and the sessionmakers of a node, made from the targets or the URL of ``oban-sqla start``."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import cast

import click
from sqlalchemy import Engine, create_engine, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from ..options.sessionmakers import SessionMaker
from ..options.url import async_url
from ..runtime.asked import asking_for_sessions
from .database import engine_for, pool_for
from .target import TargetError

Given = AsyncEngine | Engine | SessionMaker


def on_objects(given: Sequence[Given]) -> tuple[AsyncEngine, list[SessionMaker]]:
    """The engine of a node, and the sessionmakers, from the user's own objects.

    :param given: one object, or one that is asynchronous and one that is not.
    :raises TargetError: for a sessionmaker without an engine.
    """
    engines: dict[bool, AsyncEngine | Engine] = {}
    makers: list[SessionMaker] = []
    for one in given:
        if isinstance(one, AsyncEngine):
            engines[True] = one
        elif isinstance(one, Engine):
            engines[False] = one
            makers.append(sessionmaker(one, expire_on_commit=False))
        else:
            engines[isinstance(one, async_sessionmaker)] = _bind_of(one)
            makers.append(one)
    engine = engines.get(True) or _asynchronous(cast(Engine, engines[False]))
    return cast(AsyncEngine, engine), makers


def on_url(url: str | None, queues: Container[str], jobs: int) -> tuple[AsyncEngine, list[SessionMaker]]:
    """The engine on a URL, and a sessionmaker for plain ``Session`` objects if workers of `queues` ask for one.

    :param jobs: how many jobs may run at once.
    :raises click.UsageError: without a URL, or for one that can't be used.
    """
    pool = pool_for(jobs)
    engine = engine_for(url, **pool)
    asking = [
        worker.name
        for worker in asking_for_sessions(queues)
        if worker.session_kind is not None and issubclass(Session, worker.session_kind)
    ]
    if not asking or url is None:
        return engine, []
    plain = async_url(make_url(url).set(drivername="postgresql+psycopg"))
    try:
        return engine, [sessionmaker(create_engine(plain, pool_pre_ping=True, **pool), expire_on_commit=False)]
    except ModuleNotFoundError as error:
        raise click.UsageError(
            f"{asking[0]} asks for a Session, which needs psycopg: pip install 'oban-sqla[psycopg]'"
        ) from error


def _bind_of(maker: SessionMaker) -> AsyncEngine | Engine:
    bind: object = maker.kw.get("bind")
    if isinstance(maker, async_sessionmaker):
        if isinstance(bind, AsyncEngine):
            return bind
        raise TargetError(f"the sessionmaker is bound to {bind!r}; expected async_sessionmaker(an AsyncEngine)")
    if isinstance(bind, Engine):
        return bind
    raise TargetError(f"the sessionmaker is bound to {bind!r}; expected sessionmaker(an Engine)")


def _asynchronous(engine: Engine) -> AsyncEngine:
    """An engine for the node's own connections, on the URL of `engine`."""
    driver = "postgresql+psycopg" if engine.dialect.driver == "psycopg" else "postgresql"
    url = engine.url.set(drivername=driver) if engine.dialect.name == "postgresql" else engine.url
    return engine_for(url.render_as_string(hide_password=False))
