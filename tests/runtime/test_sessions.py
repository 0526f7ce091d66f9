"""A job that asks for a session: its commit also completes the job."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from oban_sqla import Cancel, Oban, Record, Snooze, current_job, job
from tests.runtime.helpers import execute, insert, until
from tests.support import eventually

gates: dict[str, asyncio.Event] = {}
waiting: list[int] = []


@job
async def write_async(session: AsyncSession, note: str, then: str = "return") -> object:
    await session.execute(text("INSERT INTO user_notes VALUES (:note)"), {"note": note})
    match then:
        case "raise":
            raise ValueError("after the effect")
        case "cancel":
            return Cancel("after the effect")
        case "snooze" if "snoozed" not in current_job().meta:
            return Snooze(3600)
        case "record":
            return Record("noted")
        case "commit":
            await session.commit()
        case "savepoint":
            async with session.begin_nested():
                await session.execute(text("INSERT INTO user_notes VALUES ('nested')"))
        case "enqueue":
            session.add(write_async.new(note="follow-up"))
        case "wait":
            waiting.append(current_job().id)
            await gates["note"].wait()
        case _:
            pass
    return None


@job(queue="plain_sessions")
def write_sync(session: Session, note: str, fail: bool = False) -> None:
    session.execute(text("INSERT INTO user_notes VALUES (:note)"), {"note": note})
    if fail:
        raise ValueError("after the effect")


@pytest.fixture
async def notes(any_engine: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    await execute(any_engine, "CREATE TABLE IF NOT EXISTS user_notes (note text)")
    yield any_engine
    await execute(any_engine, "DROP TABLE user_notes")


async def noted(engine: AsyncEngine) -> list[str]:
    return [row[0] for row in await execute(engine, "SELECT note FROM user_notes ORDER BY 1")]


def runtime(engine: AsyncEngine) -> Oban:
    return Oban(engine, queues={"default": 5}, sessionmaker=async_sessionmaker(engine), shutdown_grace=0.1)


@pytest.mark.parametrize(
    ("then", "state", "expected"),
    [
        ("return", "completed", ["x"]),
        ("record", "completed", ["x"]),
        ("savepoint", "completed", ["nested", "x"]),
        ("snooze", "scheduled", ["x"]),
        ("cancel", "cancelled", []),
        ("raise", "retryable", []),
        ("commit", "retryable", []),
    ],
)
async def test_effects_and_outcome_are_one_transaction(
    notes: AsyncEngine, then: str, state: str, expected: list[str]
) -> None:
    async with runtime(notes):
        [job_id] = await insert(notes, write_async.new(note="x", then=then))
        done = await until(notes, job_id, state)
    assert await noted(notes) == expected
    if then == "commit":
        assert "commit() inside a job" in done.errors[0]["error"]
    if then == "record":
        assert done.meta["return"] == "noted"


async def test_a_job_enqueued_with_the_effects_runs(notes: AsyncEngine) -> None:
    async with runtime(notes):
        await insert(notes, write_async.new(note="first", then="enqueue"))
        await eventually(lambda: _equals(notes, ["first", "follow-up"]))


async def _equals(engine: AsyncEngine, expected: list[str]) -> bool:
    return await noted(engine) == expected


async def test_a_locked_row_delays_its_completion_and_loses_nothing(notes: AsyncEngine) -> None:
    gates["note"] = asyncio.Event()
    waiting.clear()
    async with runtime(notes):
        [job_id] = await insert(notes, write_async.new(note="x", then="wait"))
        await eventually(lambda: waiting == [job_id])
        async with notes.begin() as locking:
            await locking.execute(text("SELECT id FROM oban_jobs WHERE id = :id FOR UPDATE"), {"id": job_id})
            gates["note"].set()
            blocked = (
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            await eventually(lambda: _is_one(notes, blocked))
        done = await until(notes, job_id, "completed")
    assert done.attempt == 1
    assert await noted(notes) == ["x"]


async def _is_one(engine: AsyncEngine, sql: str) -> bool:
    return (await execute(engine, sql))[0][0] == 1


async def test_a_fenced_out_run_leaves_no_effect(notes: AsyncEngine) -> None:
    gates["note"] = asyncio.Event()
    waiting.clear()
    async with runtime(notes):
        [job_id] = await insert(notes, write_async.new(note="zombie", then="wait"))
        await eventually(lambda: waiting == [job_id])
        # As a lifeline does when it takes this node for dead:
        await execute(notes, "UPDATE oban_jobs SET state = 'cancelled' WHERE id = :id", id=job_id)
        gates["note"].set()
        await eventually(lambda: _idle(notes))
    assert await noted(notes) == []
    assert (await until(notes, job_id, "cancelled")).attempt == 1


async def _idle(engine: AsyncEngine) -> bool:
    held = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'"
    return (await execute(engine, held))[0][0] == 0


async def test_the_effects_of_a_job_that_was_stopped_are_rolled_back(notes: AsyncEngine) -> None:
    gates["note"] = asyncio.Event()
    waiting.clear()
    oban = runtime(notes)
    await oban.start()
    [job_id] = await insert(notes, write_async.new(note="half", then="wait"))
    await eventually(lambda: waiting == [job_id])
    await oban.stop()
    assert await noted(notes) == []
    assert (await until(notes, job_id, "available")).attempt == 0


@pytest.mark.parametrize("fail", [False, True])
async def test_a_plain_function_gets_a_plain_session(engine: AsyncEngine, fail: bool) -> None:
    await execute(engine, "CREATE TABLE IF NOT EXISTS user_notes (note text)")
    sync = create_engine(engine.url.set(drivername="postgresql+psycopg"))
    try:
        async with Oban(engine, queues={"plain_sessions": 5}, sessionmaker=sessionmaker(sync)):
            [job_id] = await insert(engine, write_sync.new(note="sync", fail=fail))
            await until(engine, job_id, "retryable" if fail else "completed")
        assert await noted(engine) == ([] if fail else ["sync"])
    finally:
        sync.dispose()
        await execute(engine, "DROP TABLE user_notes")


async def test_a_job_gets_a_session_on_the_engine_of_a_node_without_a_sessionmaker(notes: AsyncEngine) -> None:
    async with Oban(notes, queues={"default": 5}):
        [job_id] = await insert(notes, write_async.new(note="x"))
        await until(notes, job_id, "completed")
    assert await noted(notes) == ["x"]
