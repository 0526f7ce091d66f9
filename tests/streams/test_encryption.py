"""What an encrypted job tells is encrypted, or refused."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import InvalidOption, JobLogs, KeyMissing, Oban, configure_encryption, emit, job, progress
from oban_sqla.options.encryption import Encryption, in_use
from tests.runtime.helpers import execute, finished, insert
from tests.streams.test_events import read

fernet = pytest.importorskip("cryptography.fernet")
logger = logging.getLogger("tests.streams.encrypted")
refused: list[Exception] = []


@job(name="streams.encrypted", queue="streams_encrypted", encrypted=True)
async def encrypted() -> None:
    await emit({"card": "4111"})
    await progress(1, 2)
    logger.warning("the card is %s", "4111")
    try:
        await progress(2, 2, "card 4111")
    except InvalidOption as error:
        refused.append(error)


async def test_it_is_stored_encrypted_and_read_with_the_key(engine: AsyncEngine) -> None:
    refused.clear()
    encryption = Encryption([fernet.Fernet.generate_key().decode()])
    options: Any = {"job_logs": JobLogs("WARNING"), "encryption": encryption}
    async with Oban(engine, {"streams_encrypted": 2, "default": 2}, **options) as oban:
        [spec] = await oban.enqueue(encrypted.new())
        assert spec.id is not None
        assert await read(oban, spec.id) == [(1, {"card": "4111"})]
        [ended] = await finished(engine, [spec.id])
        assert [line.message for line in await oban.logs(spec)] == ["the card is 4111"]
    assert ended.progress is not None
    assert (ended.progress.done, ended.progress.note) == (1, None)
    assert "encrypts what it stores" in str(refused[0])
    stored = str(await execute(engine, "SELECT value::text FROM oban_events"))
    assert "4111" not in stored
    with pytest.raises(KeyMissing):
        await read(Oban(engine, encryption=Encryption([fernet.Fernet.generate_key().decode()])), spec.id)


@job(name="streams.keyless", queue="streams_encrypted", encrypted=True)
async def keyless() -> None:
    missing.append(True)
    logger.warning("the card is %s", "4111")


missing: list[bool] = []


async def test_lines_that_no_key_encrypts_hold_up_nothing_else(
    engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    @job(name="streams.beside", queue="streams_encrypted")
    async def beside() -> None:
        await emit("beside")

    key = fernet.Fernet.generate_key().decode()

    def keys() -> list[str]:
        if missing:
            raise ConnectionError("the vault is closed")
        return [key]

    missing.clear()
    async with Oban(engine, {"streams_encrypted": 1}, encryption=Encryption(keys), job_logs=JobLogs("WARNING")):
        await finished(engine, await insert(engine, keyless.new(), beside.new()), 10)
        missing.clear()
    assert [tuple(row) for row in await execute(engine, "SELECT value::text FROM oban_events")] == [('"beside"',)]
    [said] = [one for one in caplog.records if "of its log could not be kept" in one.message]
    assert said.getMessage() == f"job {said.job_id}: 1 of the lines of its log could not be kept: ConnectionError"  # type: ignore[attr-defined]


@job(name="streams.sealed", queue="streams_encrypted", encrypted=True, recorded=True)
async def sealed(card: str) -> str:
    await emit(card)
    await emit("last")
    return card


async def test_a_node_reads_with_its_own_keys_in_whatever_task(engine: AsyncEngine) -> None:
    node_key, other = (fernet.Fernet.generate_key().decode() for _ in range(2))
    configure_encryption([other])
    try:
        async with Oban(engine, {"streams_encrypted": 2}, encryption=Encryption([node_key])) as oban:
            [spec] = await oban.enqueue(sealed.new("4111"))
            assert await oban.result(spec) == "4111"
            assert [result.value async for _, result in oban.results([spec])] == ["4111"]
            events: Any = oban.stream(spec)
            assert await asyncio.create_task(anext(events)) == (1, "4111")
            before = in_use()
            assert await anext(events) == (2, "last")
            assert in_use() is before, "nothing of it is left in the task that reads"
            await asyncio.create_task(events.aclose())
    finally:
        configure_encryption(None)


async def test_other_jobs_are_stored_as_they_are(engine: AsyncEngine) -> None:
    @job(name="streams.plain")
    async def plain() -> None:
        await emit("plain")

    async with Oban(engine, {"streams_encrypted": 2, "default": 2}):
        await finished(engine, await insert(engine, plain.new()))
    assert [tuple(row) for row in await execute(engine, "SELECT value::text FROM oban_events")] == [('"plain"',)]
