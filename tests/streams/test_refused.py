"""Events and log lines that the database refuses, by what the user put on the table: all others are kept."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import JobLogs, Oban, emit, job, progress
from oban_sqla.runtime.journal import writer
from tests.runtime.helpers import execute, finished, insert, load
from tests.streams.test_events import read

logger = logging.getLogger("tests.refused")

REFUSE = """
CREATE FUNCTION refuse_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF to_jsonb(NEW)::text LIKE '%cursed%' THEN RAISE EXCEPTION 'no'; END IF;
  RETURN NEW;
END $$
"""
BIND = "CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON {} FOR EACH ROW EXECUTE FUNCTION refuse_event()"


@pytest.fixture
async def refusing(any_engine: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    """A trigger of the user's refuses each value with a word in it."""
    await execute(any_engine, REFUSE)
    for table in ("oban_events", "oban_progress"):
        await execute(any_engine, BIND.format(table))
    yield any_engine
    await execute(any_engine, "DROP FUNCTION refuse_event CASCADE")


@job(name="refused.tells")
async def tells(upto: int, cursed: list[int]) -> None:
    for number in range(1, upto + 1):
        said = f"cursed {number}" if number in cursed else f"{number}"
        emit(said)
        logger.warning("line %s", said)
    progress(upto, note="cursed" if cursed else "fine")


async def test_all_are_kept_but_the_one_that_can_not_be(
    refusing: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    ids = await insert(refusing, tells.new(200, [77, 200]), tells.new(3, []))
    async with Oban(refusing, {"default": 2}, job_logs=JobLogs()) as oban:
        await finished(refusing, ids)
        kept = [f"{number}" for number in range(1, 201) if number not in (77, 200)]
        assert await read(oban, ids[0]) == list(enumerate(kept, 1))
        assert [line.message for line in await oban.logs(ids[0])] == [f"line {said}" for said in kept]
        assert await read(oban, ids[1]) == [(1, "1"), (2, "2"), (3, "3")]
        assert len(await oban.logs(ids[1])) == 3
    fine = (await load(refusing, ids[1])).progress
    assert fine is not None
    assert fine.note == "fine"
    told = [record.message for record in caplog.records if "log lines can't be stored" in record.message]
    assert len(told) == 4
    assert all(text.startswith(f"job {ids[0]}: 1 of its events") for text in told)


async def test_a_job_whose_values_are_all_refused_does_not_hold_up_the_node(
    refusing: AsyncEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(writer, "MOST_REFUSED", 5)
    ids = await insert(refusing, tells.new(400, list(range(1, 401))), tells.new(3, []))
    async with Oban(refusing, {"default": 2}) as oban:
        await finished(refusing, ids)
        assert await read(oban, ids[0]) == []
        assert len(await read(oban, ids[1])) == 3
        [note] = await execute(refusing, "SELECT job_id, note FROM oban_progress")
        assert tuple(note) == (ids[1], "fine")
    told = [record.message for record in caplog.records if "log lines can't be stored" in record.message]
    assert 5 < len(told) < 40
