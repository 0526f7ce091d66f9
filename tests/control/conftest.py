"""A node, and an operator elsewhere: one that listens, and one that only polls because nobody sends notifications."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from oban_sqla import Oban

IN_TIME = 8.0
"""Seconds for what is promised within one, on a machine that is free. Without its signal it would take minutes."""


class Place:
    """Where a test takes place: the driver, and whether notifications travel."""

    def __init__(self, engine: AsyncEngine, elsewhere: AsyncEngine, notify: str) -> None:
        self.engine = engine
        self.notify = notify
        self.operator = Oban(elsewhere, node="operator", notify=self.notify)  # type: ignore[arg-type]
        """Never started: it has no producer, and wakes nobody but through the database."""

    def node(self, node: str = "here", **options: Any) -> Oban:
        """A node that is still to be started."""
        given: dict[str, Any] = {"queues": {"default": 10}, "notify": self.notify, "shutdown_grace": 0.2}
        # While it listens its polls and looks are minutes apart: nothing but a signal can be in time.
        given["poll_interval"] = 300.0 if self.notify == "auto" else 0.1
        return Oban(self.engine, node=node, **given | options)


with_psycopg = pytest.mark.parametrize("place", ["asyncpg listens", "psycopg listens", "asyncpg polls"], indirect=True)
"""For a test that is to see psycopg as well."""


@pytest.fixture(params=["asyncpg listens", "asyncpg polls"])
async def place(
    request: pytest.FixtureRequest, database_url: str, clean_tables: None, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Place]:
    driver, _, way = request.param.partition(" ")
    # The five seconds between two looks have a test of their own.
    monkeypatch.setattr("oban_sqla.runtime.control.LOOK_EVERY", 0.2 if way == "polls" else 300.0)
    engine = create_async_engine(make_url(database_url).set(drivername=f"postgresql+{driver}"))
    elsewhere = create_async_engine(database_url)
    yield Place(engine, elsewhere, "auto" if way == "listens" else "off")
    await engine.dispose()
    await elsewhere.dispose()
