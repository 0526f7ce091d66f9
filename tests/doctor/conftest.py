"""A database of the test's own, with the tables in it, that may be damaged."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Collection, Iterable

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from oban_sqla.insight.doctor import Finding, examine
from oban_sqla.workers.registry import workers


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor also looks at what its process knows; the modules of other tests are not meant."""
    monkeypatch.setattr(workers, "encrypted", set[str]())
    monkeypatch.setattr("oban_sqla.models.relationship._paths", {})


@pytest.fixture
async def own_engine(migrated_database: str) -> AsyncIterator[AsyncEngine]:
    """An engine on a database of the test's own, healthy as it is."""
    engine = create_async_engine(migrated_database)
    yield engine
    await engine.dispose()


async def diagnose(engine: AsyncEngine, check: str, skipped: Collection[str] = ()) -> list[Finding]:
    """What one check finds, while every other check runs beside it.

    A statement that raises becomes a finding that its check was skipped, so that the others go on. A test that looks
    at its own check alone would not notice that.

    :param skipped: the checks that have to be skipped. Default: none may be.
    """
    findings = await examine(engine)
    assert_skipped(findings, skipped)
    return [finding for finding in findings if finding.check == check]


def assert_skipped(findings: Iterable[Finding], expected: Collection[str] = ()) -> None:
    """That exactly the `expected` checks were skipped."""
    found = {finding.check: finding.found for finding in findings if finding.status == "skipped"}
    assert set(found) == set(expected), found


async def one(engine: AsyncEngine, check: str) -> Finding:
    """The one finding of a check, while none is skipped."""
    [finding] = await diagnose(engine, check)
    return finding


def without_seconds(found: str) -> str:
    """A finding with the minutes of its lengths of time alone: a busy machine adds seconds."""
    return re.sub(r"(\d+ min) \d+ s\b", r"\1", found)
