"""Every place in which an argument could be left in plain text."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import pytest
from sqlalchemy import literal, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from oban_sqla import (
    Cron,
    Encryption,
    InvalidArgs,
    InvalidOption,
    Job,
    JobSpec,
    Oban,
    Partition,
    Queue,
    Unique,
    configure_encryption,
    enqueue,
    enqueue_from,
    job,
    job_relationship,
    later,
    worker,
)
from oban_sqla.options.encryption import is_sealed
from oban_sqla.testing import assert_enqueued, drain, mode, perform, refute_enqueued
from tests.encryption import jobs
from tests.encryption.conftest import Leaks
from tests.encryption.jobs import CANARY, charge, charge_elsewhere, charge_in_session, charge_in_thread, plain
from tests.runtime.helpers import execute, insert, load, until
from tests.support import eventually

ALL = [charge, charge_in_thread, charge_elsewhere, charge_in_session]


@pytest.mark.parametrize("fn", ALL, ids=["async", "thread", "process", "session"])
async def test_the_function_gets_plain_arguments_and_nothing_else_does(
    oban: Oban, engine: AsyncEngine, leaks: Leaks, fn: Any
) -> None:
    outcomes = {
        "value": "completed",
        "log": "completed",
        "error": "retryable",
        "cause": "retryable",
        "cancel": "cancelled",
        "discard": "discarded",
        "snooze": "scheduled",
    }
    ids = await insert(engine, *(fn.new(CANARY, outcome) for outcome in outcomes))
    for job_id, state in zip(ids, outcomes.values(), strict=True):
        done = await until(engine, job_id, lambda job: job.attempted_at is not None and job.state == state)  # noqa: B023
        assert is_sealed(done.args)
    value = await oban.result(ids[0])
    assert value == (f"charged {CANARY}" if fn is not charge_elsewhere else [f"charged {CANARY}", done_args(value)])
    failed = (await load(engine, ids[2])).errors[0]["error"]
    assert "ValueError" in failed
    assert "jobs.py" in failed
    assert "in _act" in failed
    chained = (await load(engine, ids[3])).errors[0]["error"]
    assert "KeyError" in chained
    assert "RuntimeError" in chained
    assert all(is_sealed(args) for _, args in jobs.seen)
    assert all(card == CANARY for card, _ in jobs.seen)
    assert await leaks() == []


def _function() -> None: ...


def done_args(value: Any) -> Any:
    """The args that a job in another process has seen in its row."""
    assert is_sealed(value[1])
    return value[1]


async def test_every_way_to_enqueue_encrypts(any_engine: AsyncEngine, sync_engine: Any, keys: Encryption) -> None:
    configure_encryption(keys)
    with Session(sync_engine) as plainly:
        plainly.add(charge.new(CANARY))
        plainly.add_all([charge.new(later(lambda: CANARY)), charge.new(CANARY), JobSpec("encryption.plain")])
        plainly.commit()
    async with AsyncSession(any_engine) as session, session.begin():
        session.add(JobSpec("encryption.charge", {"card": CANARY}))
        await enqueue(session, (charge.options(unique=Unique(fields=["worker"])).new(CANARY) for _ in range(2)))
    oban = Oban(any_engine, encryption=keys)
    [spec] = await oban.enqueue(charge.new(CANARY))
    assert dict(spec.args) == {"card": CANARY, "outcome": "value"} or spec.args["card"] == CANARY
    rows = await execute(any_engine, "SELECT worker, args FROM oban_jobs ORDER BY id")
    assert len(rows) == 7
    assert [is_sealed(row.args) for row in rows] == [row.worker == "encryption.charge" for row in rows]
    async with AsyncSession(any_engine) as session:
        assert (await drain(session))["completed"] == 7


async def test_an_oban_encrypts_with_its_own_keys_on_the_short_way(engine: AsyncEngine, oban: Oban) -> None:
    [spec] = await oban.enqueue(charge.options(schedule_in=3600).new(CANARY))
    assert is_sealed((await load(engine, spec.id or 0)).args)
    again = spec.__copy__()
    async with AsyncSession(engine) as session, session.begin():
        session.add(again)  # the spec stays plain, so that it can be written anew
    assert again.args["card"] == CANARY
    assert is_sealed((await load(engine, again.id or 0)).args)


async def test_jobs_that_no_key_encrypts_keep_no_others_from_being_enqueued_at_the_same_time(
    engine: AsyncEngine, key: str
) -> None:
    missing = False

    def keys() -> list[str]:
        if missing:
            raise ConnectionError("the vault is closed")
        return [key]

    async with Oban(engine, encryption=Encryption(keys)) as oban:
        specs = [plain.new(), charge.new("x"), plain.new()]
        missing = True
        first, between, last = await asyncio.gather(*map(oban.enqueue, specs), return_exceptions=True)
        missing = False
    assert isinstance(between, ConnectionError)
    assert first == [specs[0]]
    assert last == [specs[2]]
    assert {row.id for row in await execute(engine, "SELECT id FROM oban_jobs")} == {specs[0].id, specs[2].id}


async def test_updated_arguments_are_encrypted(oban: Oban, engine: AsyncEngine, leaks: Leaks) -> None:
    first, other = await insert(
        engine, charge.options(schedule_in=3600).new("x"), plain.options(schedule_in=3600).new()
    )
    assert await oban.update(first, args={"card": CANARY}) == 1
    with pytest.raises(InvalidOption, match="one worker at a time"):
        await oban.update([first, other], args={"card": CANARY})
    await oban.retry(first)
    await until(engine, first, "completed")
    assert jobs.seen[-1][0] == CANARY
    assert await leaks() == []


async def test_entries_of_a_crontab_are_encrypted(engine: AsyncEngine, keys: Encryption, leaks: Leaks) -> None:
    entry = Cron("@reboot", charge.new(CANARY), name="nightly")  # made before there are any keys
    async with Oban(engine, queues={"secrets": 1}, crontab=[entry], encryption=keys) as oban:
        await oban.crons.put("later", "0 0 1 1 *", charge.new(CANARY))
        spec = await oban.crons.run_now("later")
        assert spec.id is not None
        await until(engine, spec.id, "completed")
        await eventually(lambda: len(jobs.seen) >= 2)
    assert {card for card, _ in jobs.seen} == {CANARY}
    assert await leaks() == []


async def test_in_tests_jobs_run_as_in_production(engine: AsyncEngine, keys: Encryption) -> None:
    assert await perform(charge.new(CANARY)) == f"charged {CANARY}"  # without any keys
    assert is_sealed(jobs.seen[-1][1])
    with pytest.raises(ValueError, match="bad card"):
        perform(charge_in_thread.new(CANARY, "error"))
    configure_encryption(keys)
    async with AsyncSession(engine) as session:
        session.add_all([charge.new(CANARY), charge_elsewhere.new(CANARY), charge_in_thread.new(CANARY, "error")])
        [found] = await assert_enqueued(session, worker=charge, args={"card": CANARY})
        assert is_sealed(found.args)
        await refute_enqueued(session, worker=charge, args={"card": "another"})
        with pytest.raises(AssertionError, match="not 'another'"):
            await assert_enqueued(session, worker=charge, args={"card": "another"})
        counts = await drain(session)
        assert counts == {"completed": 2, "retryable": 1}
        async with mode("inline"):
            session.add(charge.new(CANARY))
            await session.flush()
    assert len(jobs.seen) == 5


async def test_what_is_enqueued_is_compared_as_json_also_where_it_is_encrypted(
    engine: AsyncEngine, keys: Encryption
) -> None:
    @job(encrypted=True)
    async def count(number: int, flags: list[bool]) -> None: ...

    configure_encryption(keys)
    async with AsyncSession(engine) as session:
        session.add(count.new(1, [True]))
        for same in ({"number": 1.0}, {"flags": [True]}):
            await assert_enqueued(session, worker=count, args=same)
        for other in ({"number": True}, {"flags": [1]}):
            await refute_enqueued(session, worker=count, args=other)


async def test_what_can_not_be_encrypted_is_refused(engine: AsyncEngine, keys: Encryption) -> None:
    with pytest.raises(InvalidOption, match="can't be compared"):

        @job(name="encryption.unique", encrypted=True, unique=Unique())
        async def _unique(card: str) -> None: ...

    with pytest.raises(InvalidOption, match="can't be compared"):
        charge.options(unique=Unique())
    with pytest.raises(InvalidOption, match="is for functions"):

        @worker(encrypted=True)
        class _Class:
            async def process(self, job: Job) -> None: ...

    with pytest.raises(InvalidOption, match="True or False"):
        job(name="encryption.odd", encrypted=cast(bool, "yes"))(_function)

    with pytest.raises(InvalidOption, match="put the key into meta"):
        job_relationship("args.order", workers=charge)
    configure_encryption(keys)
    async with AsyncSession(engine) as session:
        with pytest.raises(InvalidOption, match="the database can't"):
            await enqueue_from(session, charge, select(literal("x").label("card")))
        with pytest.raises(InvalidOption, match="can't be compared"):
            JobSpec(charge, {"card": CANARY}, unique=Unique())
        session.add(JobSpec(charge.worker_name, {"card": CANARY}, unique=Unique()))
        with pytest.raises(InvalidOption, match="can't be compared"):
            await session.flush()
    oban = Oban(engine, queues={"secrets": Queue(1, partition=Partition("args.card"))}, encryption=keys)
    with pytest.raises(InvalidOption, match="encrypts its arguments"):
        await oban.start()
    with pytest.raises(InvalidOption, match="encrypts its arguments"):
        await Oban(engine).scale_queue("secrets", partition=Partition("args.card"))


async def test_the_limit_of_the_arguments_counts_the_token(engine: AsyncEngine, keys: Encryption) -> None:
    configure_encryption(keys)
    fits, too_long = "x" * 780_000, "x" * 800_000
    async with AsyncSession(engine) as session:
        session.add(charge.new(fits))
        await session.flush()
    with pytest.raises(InvalidArgs, match="when they are encrypted"):
        charge.new(too_long)
    async with AsyncSession(engine) as session:
        session.add(JobSpec("encryption.charge", {"card": too_long}))
        with pytest.raises(InvalidArgs, match="when they are encrypted"):
            await session.flush()


async def test_a_token_of_another_worker_opens_nothing(oban: Oban, engine: AsyncEngine) -> None:
    [source] = await insert(engine, charge.options(schedule_in=3600).new(CANARY))
    [row] = await execute(
        engine,
        "INSERT INTO oban_jobs (worker, queue, args) SELECT 'encryption.charge_in_thread', queue, args FROM oban_jobs "
        "WHERE id = :id RETURNING id",
        id=source,
    )
    left = await until(engine, row.id, lambda job: job.meta.get("missing_key") and job.state == "scheduled")
    assert left.attempt == 0


async def test_an_argument_that_is_called_like_a_token_is_one(oban: Oban, engine: AsyncEngine) -> None:
    [first] = await insert(engine, plain.new("gAAAAnything"))
    assert (await until(engine, first, "completed")).meta["return"] == "gAAAAnything"
    assert await oban.result(first) == "gAAAAnything"


def test_keys_are_checked_and_never_shown(key: str, engine: AsyncEngine) -> None:
    for bad in ([], ["short"], key, [7], None, {"a": key}):
        with pytest.raises(InvalidOption, match="Encryption"):
            Encryption(keys=bad)  # type: ignore[arg-type]
    bad_key = f"{key[:-3]}!!!"
    with pytest.raises(InvalidOption, match="key 2 is not a Fernet key") as raised:
        Encryption(keys=[key, bad_key])
    assert bad_key not in str(raised.value)
    assert key not in repr(Encryption(keys=[key]))

    async def coroutine() -> list[str]:
        return [key]

    with pytest.raises(InvalidOption, match="plain function"):
        Encryption(keys=coroutine)  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="encryption must be"):
        Oban(engine, encryption=[key])  # type: ignore[arg-type]


async def test_without_keys_nothing_is_written(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        session.add(charge.new(CANARY))
        with pytest.raises(InvalidOption, match="this process has no keys"):
            await session.flush()
    assert json.loads("[]") == await execute(engine, "SELECT id FROM oban_jobs")
