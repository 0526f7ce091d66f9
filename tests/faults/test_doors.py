"""What real use found at the doors: what should pass and was refused, and what passed and should not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_scoped_session, async_sessionmaker

from oban_sqla import InvalidOption, JobSpec, Oban, enqueue, job
from oban_sqla.testing import all_enqueued, assert_enqueued, drain
from tests.runtime.helpers import execute, finished, insert


class TenantSession(AsyncSession):
    """An application's own, as SQLModel's is."""


@job
async def note_tenant(session: TenantSession, text_: str) -> None:
    await session.execute(text("INSERT INTO door_notes VALUES (:note)"), {"note": f"{text_} {type(session).__name__}"})


@pytest.fixture
async def notes(engine: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    await execute(engine, "CREATE TABLE door_notes (note text)")
    yield engine
    await execute(engine, "DROP TABLE door_notes")


async def noted(engine: AsyncEngine) -> list[str]:
    return [row[0] for row in await execute(engine, "SELECT note FROM door_notes ORDER BY note")]


async def test_a_job_gets_the_applications_own_kind_of_session(notes: AsyncEngine) -> None:
    maker = async_sessionmaker(notes, class_=TenantSession, expire_on_commit=False)
    async with Oban(notes, queues={"default": 5}, sessionmaker=maker):
        await finished(notes, await insert(notes, note_tenant.new("ran in")))
    assert await noted(notes) == ["ran in TenantSession"]


async def test_a_scoped_session_enqueues_and_is_asked_like_the_session_that_it_has(engine: AsyncEngine) -> None:
    scoped = async_scoped_session(async_sessionmaker(engine), scopefunc=asyncio.current_task)
    try:
        [spec] = await enqueue(scoped, JobSpec("sync", {"id": 1}))
        assert spec.id is not None
        await assert_enqueued(scoped, worker="sync", args={"id": 1})
        await scoped.commit()
        assert [one.id for one in await all_enqueued(scoped)] == [spec.id]
        oban = Oban(engine)
        assert await oban.cancel(spec, scoped) == 1
        await scoped.commit()
        assert await drain(scoped) == {}
    finally:
        await scoped.remove()


@pytest.mark.parametrize("given", ["a session", None, AsyncSession])
def test_what_is_not_a_session_is_refused(given: Any) -> None:
    with pytest.raises(InvalidOption, match="enqueue: expected an AsyncSession or a Session, got"):
        enqueue(given, JobSpec("sync"))
