"""An outcome that can't be stored (R6): its job gets a plain failure, and no other ack waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import Oban, Record, job
from oban_sqla.runtime import acks
from tests.faults.jobs import gate
from tests.runtime.helpers import execute, finished, insert, load, until
from tests.support import eventually

ready: set[int] = set()


@job(name="faults.record_number")
async def record_number(number: int) -> Record:
    ready.add(number)
    await gate("together").wait()
    return Record(number)


@job(name="faults.fail_with")
async def fail_with(how: str) -> None:
    ready.add(len(ready))
    await gate("together").wait()
    match how:
        case "NUL":
            raise ValueError("a NUL \x00 in the text")
        case "lone surrogate":
            raise ValueError("a lone surrogate \ud800 in the text")
        case "ten megabytes":
            raise ValueError("a long text: " + "long " * 2_000_000)
        case _:
            return


@pytest.fixture
async def no_fifty(engine: AsyncEngine) -> AsyncIterator[None]:
    """The server refuses what our own checks take: a constraint of the user's."""
    ready.clear()
    refused = "CHECK (meta -> 'return' IS DISTINCT FROM '50'::jsonb)"
    await execute(engine, f"ALTER TABLE oban_jobs ADD CONSTRAINT no_fifty {refused} NOT VALID")
    yield
    await execute(engine, "ALTER TABLE oban_jobs DROP CONSTRAINT no_fifty")


async def test_a_value_that_the_server_refuses_is_a_failure_of_its_job_and_delays_no_other(
    any_engine: AsyncEngine, no_fifty: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sent: list[int] = []
    original = acks.Acks._send_all

    async def counted(self: Any, statement: Any, batch: Any) -> None:
        sent.append(len(batch))
        await original(self, statement, batch)

    monkeypatch.setattr(acks.Acks, "_send_all", counted)
    async with Oban(any_engine, queues={"default": 100}):
        ids = await insert(any_engine, *(record_number.new(number) for number in range(100)))
        await eventually(lambda: len(ready) == 100)
        gate("together").set()
        poison = ids.pop(50)
        done = await finished(any_engine, ids, timeout=9)
        failed = await until(any_engine, poison, "retryable")
    assert [job.meta["return"] for job in done] == [number for number in range(100) if number != 50]
    assert "can't be stored" in failed.errors[0]["error"]
    assert "no_fifty" in failed.errors[0]["error"]
    assert (failed.attempt, len(failed.errors)) == (1, 1)
    assert len(sent) < 40, "the batch is halved, not sent one by one"
    [told] = [record for record in caplog.records if "its outcome can't be stored" in record.getMessage()]
    assert (vars(told)["job_id"], vars(told)["queue"], vars(told)["attempt"]) == (poison, "default", 1)


async def test_texts_that_no_database_takes_are_failures_in_one_batch(any_engine: AsyncEngine) -> None:
    ready.clear()
    bad = ["NUL", "lone surrogate", "ten megabytes"]
    async with Oban(any_engine, queues={"default": 100}):
        ids = await insert(any_engine, *(fail_with.new(how) for how in bad), *(fail_with.new("") for _ in range(97)))
        await eventually(lambda: len(ready) == 100)
        gate("together").set()
        await finished(any_engine, ids[3:], timeout=9)
        failed = [await until(any_engine, job_id, "retryable") for job_id in ids[:3]]
    texts = [job.errors[0]["error"] for job in failed]
    assert "a NUL \\x00 in the text" in texts[0]
    assert "a lone surrogate \\ud800 in the text" in texts[1]
    assert "characters left out" in texts[2]
    assert len(texts[2]) < 20_000


REFUSING = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.args->>'number' = '7' AND NEW.state <> 'executing' {unless} THEN
    RAISE EXCEPTION 'no' USING ERRCODE = '{sqlstate}';
  END IF;
  RETURN NEW;
END $$;
"""


@pytest.mark.parametrize("refuses_failures", [False, True])
@pytest.mark.parametrize(
    "sqlstate",
    ["P0001", pytest.param("UE001", id="one of the user's"), pytest.param("0A000", id="as for letters of SQL_ASCII")],
)
async def test_a_job_whose_outcome_a_trigger_of_the_users_refuses_delays_no_other(
    engine: AsyncEngine, sqlstate: str, refuses_failures: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready.clear()
    monkeypatch.setattr(acks, "REFUSED_RETRY", 0.1)
    unless = "" if refuses_failures else "AND NEW.state = 'completed'"
    await execute(engine, REFUSING.format(unless=unless, sqlstate=sqlstate))
    await execute(engine, "CREATE TRIGGER refuse BEFORE UPDATE ON oban_jobs FOR EACH ROW EXECUTE FUNCTION refuse()")
    try:
        async with Oban(engine, queues={"default": 100}):
            ids = await insert(engine, *(record_number.new(number) for number in range(20)))
            await eventually(lambda: len(ready) == 20)
            gate("together").set()
            refused = ids.pop(7)
            await finished(engine, ids, timeout=9)
            if refuses_failures:
                await asyncio.sleep(0.3)
                assert (await load(engine, refused)).state == "executing"
                await execute(engine, "DROP TRIGGER refuse ON oban_jobs")
                await until(engine, refused, lambda job: job.state in ("completed", "retryable"))
            else:
                failed = await until(engine, refused, "retryable")
                assert "can't be stored" in failed.errors[0]["error"]
    finally:
        await execute(engine, "DROP FUNCTION refuse CASCADE")
