"""Fixtures of the tests that break things."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from tests.faults.jobs import gates, ran
from tests.faults.proxy import Proxy, proxy


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    ran.clear()
    gates.clear()


@pytest.fixture
async def between(database_url: str, clean_tables: None) -> AsyncIterator[Proxy]:
    """A proxy to the test's database."""
    async with proxy(database_url) as made:
        yield made


@pytest.fixture(params=["asyncpg", "psycopg"])
async def proxied(request: pytest.FixtureRequest, between: Proxy) -> AsyncIterator[AsyncEngine]:
    """An engine through :func:`between`; the test runs once with each driver."""
    between.target = make_url(between.target).set(drivername=f"postgresql+{request.param}").render_as_string(False)
    engine = create_async_engine(between.url)
    yield engine
    await engine.dispose()


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A directory that the server's account may enter; pytest's own are private, and tests may run as root."""
    with tempfile.TemporaryDirectory(prefix="oban-faults-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path
