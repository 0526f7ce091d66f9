"""Every test in a transaction that is rolled back; afterwards another connection looks for what is left."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text

from tests.testing import app
from tests.testing.any_session import KINDS, AnySession


@pytest.fixture(autouse=True)
def _no_calls_yet() -> None:
    app.calls.clear()


@pytest.fixture(params=KINDS)
def any_session(request: pytest.FixtureRequest, database_url: str, sync_engine: Engine) -> Iterator[AnySession]:
    """The test runs with each kind of session."""
    yield from _any_session(request.param, database_url, sync_engine)


@pytest.fixture(params=[kind for kind in KINDS if kind != "plain"])
def async_session(request: pytest.FixtureRequest, database_url: str, sync_engine: Engine) -> Iterator[AnySession]:
    """The test runs with an AsyncSession on either driver."""
    yield from _any_session(request.param, database_url, sync_engine)


@pytest.fixture
def plain_session(database_url: str, sync_engine: Engine) -> Iterator[AnySession]:
    """The test runs with a Session."""
    yield from _any_session("plain", database_url, sync_engine)


def _any_session(kind: str, database_url: str, other: Engine) -> Iterator[AnySession]:
    any_session = AnySession(database_url, kind)
    try:
        yield any_session
    finally:
        any_session.close()
    with other.connect() as connection:
        jobs, users = connection.execute(
            text("SELECT (SELECT count(*) FROM oban_jobs), to_regclass('testing_users')")
        ).one()
    assert jobs == 0, "jobs outlived the rollback"
    assert users is None, "the test's table outlived the rollback"
