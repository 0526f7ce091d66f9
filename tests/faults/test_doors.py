"""What real use found at the doors: what should pass and was refused, and what passed and should not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from oban_sqla import InvalidOption, JobSpec, Oban, enqueue, job
from oban_sqla.options.sessionmakers import SessionMaker
from oban_sqla.testing import all_enqueued, assert_enqueued, drain, refute_enqueued
from tests.runtime.helpers import execute, finished, insert
from tests.support import eventually


class TenantSession(AsyncSession):
    """An application's own, as SQLModel's is."""


@job(queue="door_tenants")
async def note_tenant(session: TenantSession, text_: str) -> None:
    await session.execute(text("INSERT INTO door_notes VALUES (:note)"), {"note": f"{text_} {type(session).__name__}"})


@job(queue="door_plain")
def note_plainly(session: Session, text_: str) -> None:
    session.execute(text("INSERT INTO door_notes VALUES (:note)"), {"note": text_})


@job(queue="door_default")
async def note_by_default(session: AsyncSession, text_: str) -> None:
    await session.execute(text("INSERT INTO door_notes VALUES (:note)"), {"note": text_})


@job(queue="door_both")
async def note_anyhow(session: AsyncSession, text_: str) -> None:
    session.add(note_plainly.options(queue="door_both").new(f"{text_}, plainly"))
    await session.execute(text("INSERT INTO door_notes VALUES (:note)"), {"note": text_})


@pytest.fixture
async def notes(engine: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    await execute(engine, "CREATE TABLE door_notes (note text)")
    yield engine
    await execute(engine, "DROP TABLE door_notes")


async def noted(engine: AsyncEngine) -> list[str]:
    return [row[0] for row in await execute(engine, "SELECT note FROM door_notes ORDER BY note")]


async def test_a_job_gets_the_applications_own_kind_of_session(notes: AsyncEngine) -> None:
    maker = async_sessionmaker(notes, class_=TenantSession, expire_on_commit=False)
    async with Oban(notes, queues={"door_tenants": 5}, sessionmaker=maker):
        await finished(notes, await insert(notes, note_tenant.new("ran in")))
    assert await noted(notes) == ["ran in TenantSession"]


async def test_a_job_with_a_session_needs_nothing_but_the_engine(notes: AsyncEngine) -> None:
    async with Oban(notes, queues={"door_default": 5}):
        await finished(notes, await insert(notes, note_by_default.new("by default")))
    assert await noted(notes) == ["by default"]


async def test_a_node_whose_worker_asks_for_a_session_that_is_not_made_does_not_start(engine: AsyncEngine) -> None:
    oban = Oban(engine, queues={"door_plain": 5})
    with pytest.raises(
        InvalidOption, match=r"test_doors\.note_plainly: asks for a session of the kind Session, .*give"
    ):
        await oban.start()
    oban = Oban(engine, queues={"door_tenants": 5})
    with pytest.raises(
        InvalidOption, match=r"note_tenant: .*\.TenantSession, .*\(engine, class_=tests\..*\.TenantSession\)"
    ):
        await oban.start()


@pytest.mark.parametrize("queues", [["default"], "default", {"default"}])
def test_queues_without_limits_are_refused_in_the_usual_words(engine: AsyncEngine, queues: Any) -> None:
    with pytest.raises(InvalidOption, match=r'queues: expected names with their limits, such as \{"default": 10\}'):
        Oban(engine, queues=queues)


async def test_jobs_of_both_kinds_get_a_session_from_two_sessionmakers(notes: AsyncEngine) -> None:
    plain = create_engine(notes.url.set(drivername="postgresql+psycopg"))
    makers: list[SessionMaker] = [sessionmaker(plain), async_sessionmaker(notes)]
    try:
        async with Oban(notes, queues={"door_both": 5, "door_plain": 5}, sessionmaker=makers):
            await insert(notes, note_anyhow.new("first"))
            await eventually(lambda: _are_noted(notes, ["first", "first, plainly"]))
    finally:
        plain.dispose()


async def _are_noted(engine: AsyncEngine, expected: list[str]) -> bool:
    return await noted(engine) == expected


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


@pytest.mark.parametrize("helper", [refute_enqueued, assert_enqueued, all_enqueued, drain])
async def test_a_forgotten_await_is_a_warning_that_names_the_helper(engine: AsyncEngine, helper: Any) -> None:
    async with AsyncSession(engine) as session:
        with pytest.warns(RuntimeWarning, match=f"coroutine '{helper.__name__}' was never awaited"):
            helper(session)
