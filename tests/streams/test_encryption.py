"""What an encrypted job tells is encrypted, or refused."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import InvalidOption, JobLogs, KeyMissing, Oban, emit, job, progress
from oban_sqla.options.encryption import Encryption
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


async def test_other_jobs_are_stored_as_they_are(engine: AsyncEngine) -> None:
    @job(name="streams.plain")
    async def plain() -> None:
        await emit("plain")

    async with Oban(engine, {"streams_encrypted": 2, "default": 2}):
        await finished(engine, await insert(engine, plain.new()))
    assert [tuple(row) for row in await execute(engine, "SELECT value::text FROM oban_events")] == [('"plain"',)]
