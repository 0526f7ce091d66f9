"""Rows that others wrote (R7): nothing raises, nothing is stuck behind them, and each ends as documented.

What "as documented" is stands in docs/design/strangers.md.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import Oban, Snooze, current_job, job
from oban_sqla.statements.fetch import fetch
from tests.faults.jobs import note, runs
from tests.runtime.helpers import execute, finished, insert, load, until


@job(name="strangers.work")
async def work() -> None: ...


@job(name="strangers.fail")
async def fail() -> None:
    raise ValueError("no luck")


@job(name="strangers.snooze")
async def snooze() -> Snooze:
    return Snooze(3600)


@job(name="strangers.look")
async def look() -> list[Any]:
    job = current_job()
    return [job.args, job.meta, job.errors, job.scheduled_at, job.completed_at]


@job(name="strangers.perish", deadline=60)
async def perish() -> None: ...


INSERT = "INSERT INTO oban_jobs ({columns}) VALUES ({values}) RETURNING id"


async def write(engine: AsyncEngine, **columns: str) -> int:
    """A row as a stranger writes it: SQL expressions by column."""
    columns = {"worker": "'strangers.work'"} | columns
    given = {"columns": ", ".join(columns), "values": ", ".join(columns.values())}
    async with engine.begin() as connection:
        return (await connection.exec_driver_sql(INSERT.format(**given))).scalar_one()


@pytest.fixture
async def unchecked(any_engine: AsyncEngine) -> AsyncIterator[None]:
    """The tables without Oban's CHECKs, as somebody may have altered them."""
    checks = {"non_negative_priority": "priority >= 0"}
    for name in checks:
        await execute(any_engine, f"ALTER TABLE oban_jobs DROP CONSTRAINT {name}")
    yield
    await execute(any_engine, "DELETE FROM oban_jobs")
    for name, check in checks.items():
        await execute(any_engine, f"ALTER TABLE oban_jobs ADD CONSTRAINT {name} CHECK ({check})")


ROWS: dict[str, tuple[dict[str, str], str]] = {
    # What it is: what was written, and where it ends.
    "args a list": ({"args": "'[1, 2]'"}, "retryable"),
    "args a string": ({"args": "'\"text\"'"}, "retryable"),
    "args null": ({"args": "'null'"}, "retryable"),
    "args for others": ({"args": "'{\"of\": \"others\"}'"}, "completed"),
    "a number longer than Python reads": ({"args": "('{\"n\": ' || repeat('9', 5000) || '}')::jsonb"}, "retryable"),
    "deeper than Python reads": (
        {"args": "('{\"n\":' || repeat('[', 5000) || repeat(']', 5000) || '}')::jsonb"},
        "retryable",
    ),
    "meta null": ({"meta": "'null'", "worker": "'strangers.fail'"}, "retryable"),
    "meta a list": ({"meta": "'[1]'", "worker": "'strangers.snooze'"}, "scheduled"),
    "meta with a count that is none": ({"meta": "'{\"snoozed\": \"x\"}'", "worker": "'strangers.snooze'"}, "scheduled"),
    "meta too long for Python": (
        {"meta": "('{\"n\": ' || repeat('9', 5000) || '}')::jsonb", "worker": "'strangers.snooze'"},
        "scheduled",
    ),
    "errors no list": ({"errors": "'{\"a\": 1}'", "worker": "'strangers.fail'"}, "retryable"),
    "errors null": ({"errors": "'null'", "worker": "'strangers.fail'"}, "retryable"),
    "tags with a null": ({"tags": "ARRAY[NULL, 'x']"}, "completed"),
    "tags in two dimensions": ({"tags": "ARRAY[['a', 'b'], ['c', 'd']]"}, "completed"),
    "attempted_by by another": ({"attempted_by": "ARRAY['someone']"}, "completed"),
    "priority -1": ({"priority": "-1"}, "completed"),
    "priority 30000": ({"priority": "30000"}, "completed"),
    "due since ever": ({"scheduled_at": "'-infinity'"}, "completed"),
    "available and due never": ({"scheduled_at": "'infinity'"}, "completed"),
    "available in the year 20000": ({"scheduled_at": "'20000-01-01'"}, "completed"),
    "available since the year 4000 BC": ({"scheduled_at": "'4000-01-01 BC'"}, "completed"),
    "due since ever, with a deadline": ({"scheduled_at": "'-infinity'", "worker": "'strangers.perish'"}, "cancelled"),
    "inserted at the end of time": ({"inserted_at": "'infinity'", "worker": "'strangers.look'"}, "completed"),
    "completed before it began": ({"completed_at": "'infinity'", "worker": "'strangers.look'"}, "completed"),
    "scheduled since ever": ({"state": "'scheduled'", "scheduled_at": "'-infinity'"}, "completed"),
    "scheduled for never": ({"state": "'scheduled'", "scheduled_at": "'infinity'"}, "scheduled"),
    "retryable in the year 20000": ({"state": "'retryable'", "scheduled_at": "'20000-01-01'"}, "retryable"),
    "a key set by hand": ({"uniq_key": "'\\x01'"}, "completed"),
    "a key that counts in every state": ({"uniq_key": "'\\x02'", "uniq_mask": "255"}, "completed"),
    "the last of 32767 attempts": (
        {"attempt": "32766", "max_attempts": "32767", "worker": "'strangers.fail'"},
        "discarded",
    ),
    "suspended by nobody": ({"state": "'suspended'"}, "suspended"),
}  # fmt: skip


async def test_every_row_ends_as_documented_and_holds_up_no_other(
    any_engine: AsyncEngine, unchecked: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "oban_sqla")
    ids = {name: await write(any_engine, **columns) for name, (columns, _) in ROWS.items()}
    async with Oban(any_engine, queues={"default": 3}, poll_interval=0.05):
        behind = await insert(any_engine, *(note.options(priority=9).new() for _ in range(10)))
        for name, (_, state) in ROWS.items():
            await _ends(any_engine, name, ids[name], state)
        await finished(any_engine, behind, timeout=9)
    assert [record.message for record in caplog.records if "trying again" in record.message] == []


async def _ends(engine: AsyncEngine, name: str, job_id: int, state: str) -> None:
    async def there() -> str:
        return (await execute(engine, "SELECT state::text FROM oban_jobs WHERE id = :id", id=job_id))[0][0]

    from tests.support import eventually

    async def reached() -> bool:
        found = await there()
        assert found == state, f"{name}: {found}"
        return True

    await eventually(reached, 9)


async def test_alone_in_the_table_a_job_that_is_never_due_stops_no_stager(any_engine: AsyncEngine) -> None:
    await write(any_engine, state="'scheduled'", scheduled_at="'infinity'")
    async with Oban(any_engine, queues={"default": 3}, poll_interval=0.05):
        due = note.options(schedule_in=0.2).new()
        [job_id] = await insert(any_engine, due)
        await until(any_engine, job_id, "completed", timeout=9)
        later = await insert(any_engine, note.options(schedule_in=0.2).new())
        await until(any_engine, later[0], "completed", timeout=9)


async def test_a_fetch_of_jobs_without_an_attempt_left_takes_the_others_and_does_not_raise(
    any_engine: AsyncEngine,
) -> None:
    await write(any_engine, attempt="3", max_attempts="3")
    [good] = await insert(any_engine, note.new())
    given = {"queue": "default", "limit": 10, "attempted_by": ["n", "u"], "unknown": []}
    async with any_engine.begin() as connection:
        rows = await connection.run_sync(lambda c: fetch.execute(c, **given).all())
    assert [row.id for row in rows] == [good]


async def test_jobs_without_an_attempt_left_are_passed_over(engine: AsyncEngine) -> None:
    exhausted = [await write(engine, attempt="3", max_attempts="3") for _ in range(20)]
    async with Oban(engine, queues={"default": 3}, poll_interval=0.1):
        ids = await insert(engine, *(note.new() for _ in range(10)))
        await finished(engine, ids, timeout=9)
    assert not any(runs(job_id) for job_id in exhausted)
    for job_id in exhausted:
        assert (await load(engine, job_id)).state in ("available", "discarded")


async def test_a_state_of_a_future_version_is_left_alone(migrated_database: str) -> None:
    # A database of its own, because a value of an enum can't be dropped again.
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine(migrated_database)
    try:
        await execute(engine, "ALTER TYPE oban_job_state ADD VALUE 'dreaming'")
        job_id = await write(engine, state="'dreaming'")
        async with Oban(engine, queues={"default": 3}, poll_interval=0.05):
            behind = await insert(engine, *(note.new() for _ in range(5)))
            await finished(engine, behind, timeout=9)
        dreaming = await load(engine, job_id)
        assert (dreaming.state, dreaming.attempt) == ("dreaming", 0)
        async with engine.connect() as connection:
            assert (await connection.execute(text("SELECT count(*) FROM oban_jobs"))).scalar() == 6
    finally:
        await engine.dispose()
