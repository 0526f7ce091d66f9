"""A database of the test's own, with the tables in it, that may be damaged."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from oban_sqla import migrations
from oban_sqla.insight.doctor import Finding, examine


@pytest.fixture
async def patient(empty_database: str) -> AsyncIterator[AsyncEngine]:
    """An engine on a database of the test's own, healthy as it is."""
    engine = create_async_engine(empty_database)
    await migrations.migrate(engine)
    yield engine
    await engine.dispose()


async def diagnose(engine: AsyncEngine, check: str) -> list[Finding]:
    """What one check finds. Every other check runs beside it, and fails in none of these tests."""
    found = await examine(engine)
    failed = [finding for finding in found if finding.status == "skipped" and finding.check != check]
    assert not failed, failed
    return [finding for finding in found if finding.check == check]


async def one(engine: AsyncEngine, check: str) -> Finding:
    """The one finding of a check."""
    [finding] = await diagnose(engine, check)
    return finding
