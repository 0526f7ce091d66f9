"""Keys that change while jobs wait, and nodes that have not got them yet."""

from __future__ import annotations

import asyncio
import logging

import pytest
from click.testing import CliRunner
from cryptography.fernet import Fernet
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from oban_sqla import Encryption, KeyMissing, Oban, configure_encryption, job
from oban_sqla.cli import main
from oban_sqla.doctor import examine
from oban_sqla.testing import check_queued
from oban_sqla.workers.registry import workers
from tests.encryption import jobs
from tests.encryption.conftest import Leaks
from tests.encryption.jobs import CANARY, charge, charge_elsewhere
from tests.runtime.helpers import execute, insert, load, until, wake


async def test_jobs_that_wait_while_keys_are_rotated_all_run(engine: AsyncEngine, leaks: Leaks) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    held = [old]
    configure_encryption(lambda: held)
    before = await insert(engine, *(charge.options(schedule_in=3600).new(CANARY) for _ in range(3)))
    held[:] = [old, new]  # every process learns of it, and goes on with the old one
    between = await insert(engine, charge.options(schedule_in=3600).new(CANARY))
    held[:] = [new, old]
    after = await insert(engine, charge.options(schedule_in=3600).new(CANARY))
    async with Oban(engine, queues={"secrets": 5}, encryption=Encryption(keys=lambda: held)) as oban:
        await oban.retry([*before, *between])
        for job_id in (*before, *between):
            await until(engine, job_id, "completed")
        held[:] = [new]
        await oban.retry(after)
        await until(engine, after[0], "completed")
        assert await oban.result(after[0]) == f"charged {CANARY}"
        with pytest.raises(KeyMissing):  # its value was recorded with the new key: still readable; the old args are not
            held[:] = [old]
            await oban.result(after[0])
    assert len(jobs.seen) == 5
    assert await leaks() == []


@pytest.mark.parametrize("fn", [charge, charge_elsewhere], ids=["here", "in a child"])
async def test_a_node_without_the_key_gives_the_job_back_without_an_attempt(
    engine: AsyncEngine, caplog: pytest.LogCaptureFixture, key: str, fn: object
) -> None:
    worker = charge if fn is charge else charge_elsewhere
    queue = worker.worker.queue
    configure_encryption([key])
    [job_id] = await insert(engine, worker.new(CANARY))
    stranger = Encryption(keys=[Fernet.generate_key()])
    async with Oban(engine, queues={queue: 1}, encryption=stranger) as oban:
        left = await until(engine, job_id, lambda job: job.state == "scheduled" and job.meta.get("missing_key") == 1)
        assert left.attempt == 0
        assert left.errors == []
        why = await oban.why(job_id)
        assert why.reason.code == "missing_key"
        assert "given back once" in why.reason.text
        # Another worker's jobs, and those that it can open, go on.
        configure_encryption(stranger)
        [own] = await insert(engine, worker.new("own"))
        await until(engine, own, "completed")
    assert [record for record in caplog.records if "no key of this node opens" in record.getMessage()]
    assert CANARY not in caplog.text
    configure_encryption([key])
    async with Oban(engine, queues={queue: 1}, encryption=Encryption(keys=[key])) as oban:
        await oban.retry(job_id)
        wake(oban, queue)
        done = await until(engine, job_id, "completed")
    assert done.attempt == 1


async def test_a_node_without_any_keys_says_so_when_it_starts(
    engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with Oban(engine, queues={"secrets": 1}):
        assert "this node has no keys" in caplog.text


async def test_the_doctor_and_the_check_count_what_missing_key_opens_and_what_is_plain(
    engine: AsyncEngine, key: str
) -> None:
    configure_encryption([key])
    waiting = charge.options(schedule_in=60).new(CANARY)
    [unopened] = await insert(engine, waiting)
    await execute(engine, "UPDATE oban_jobs SET meta = '{\"missing_key\": 3}' WHERE id = :id", id=unopened)
    await execute(
        engine,
        "INSERT INTO oban_jobs (worker, queue, args) VALUES ('encryption.charge', 'secrets', '{\"card\": \"x\"}'), "
        "('encryption.charge', 'secrets', '{\"encrypted\": 7}'), ('other', 'secrets', '{}')",
    )
    said = [finding for finding in await examine(engine) if finding.check == "encryption"]
    assert ["1 job waits" in said[0].found, "2 waiting jobs" in said[1].found] == [True, True]
    configure_encryption([Fernet.generate_key()])
    async with AsyncSession(engine) as session:
        with pytest.raises(AssertionError, match="none of this process's keys opens it"):
            await check_queued(session)
        await session.execute(text("SELECT 1"))


async def test_a_job_that_waited_in_plain_text_runs(oban: Oban, engine: AsyncEngine) -> None:
    [row] = await execute(
        engine,
        "INSERT INTO oban_jobs (worker, queue, args) VALUES "
        "('encryption.charge', 'secrets', '{\"card\": \"x\"}') RETURNING id",
    )
    await until(engine, row.id, "completed")
    assert jobs.seen[-1][0] == "x"


async def test_the_command_line_shows_the_token_as_what_it_is(engine: AsyncEngine, key: str) -> None:
    configure_encryption([key])
    [job_id] = await insert(engine, charge.options(schedule_in=60).new(CANARY))
    url = engine.url.render_as_string(hide_password=False)
    shown = await asyncio.to_thread(CliRunner().invoke, main, ["jobs", "show", str(job_id), "--database-url", url])
    assert "args (encrypted)" in shown.output
    assert CANARY not in shown.output
    assert "gAAAA" in shown.output
    assert (await load(engine, job_id)).args["encrypted"] in shown.output


async def test_jobs_of_a_renamed_worker_run_and_their_results_need_keys_and_not_the_worker(
    engine: AsyncEngine, keys: Encryption
) -> None:
    configure_encryption(keys)

    @job(name="encryption.old", queue="secrets", encrypted=True)
    async def old(card: str) -> None: ...

    waiting = await insert(engine, old.new(CANARY), old.new("another"))
    workers.remove(["encryption.old"])

    @job(name="encryption.new", aliases=("encryption.old",), queue="secrets", encrypted=True, recorded=True)
    async def renamed(card: str) -> str:
        return f"charged {card}"

    waiting += await insert(engine, renamed.new("a third"))
    async with Oban(engine, queues={"secrets": 5}, encryption=keys) as oban:
        for job_id in waiting:
            await until(engine, job_id, "completed")
        workers.remove(["encryption.new", "encryption.old"])
        charged = [await oban.result(job_id) for job_id in waiting]
    assert charged == [f"charged {CANARY}", "charged another", "charged a third"]
