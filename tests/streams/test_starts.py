"""What a job tells that runs while its node is still starting."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import JobLogs, Oban, emit, job, progress, telemetry
from oban_sqla.runtime.duties.leader import Leadership
from tests.runtime.helpers import finished, insert, load

logger = logging.getLogger("tests.streams.starts")


@job(name="starts.tells")
async def tells() -> None:
    logger.warning("a line")
    await emit("an event")
    await progress(3, 3)


async def test_what_is_told_while_the_node_starts_is_kept(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    [job_id] = await insert(engine, tells.new())
    first, ended = Leadership.first, asyncio.Event()
    telemetry.attach("starts", ["oban.job.stop"], lambda event, fields: ended.set())

    async def late(leadership: Any) -> None:
        await asyncio.wait_for(ended.wait(), 20)
        telemetry.detach("starts")
        await first(leadership)

    monkeypatch.setattr(Leadership, "first", late)
    async with Oban(engine, queues={"default": 1}, job_logs=JobLogs()) as oban:
        await finished(engine, [job_id])
        assert [value async for _, value in oban.stream(job_id)] == ["an event"]
        assert [line.message for line in await oban.logs(job_id)] == ["a line"]
        told = (await load(engine, job_id)).progress
        assert told is not None
        assert (told.done, told.total) == (3, 3)
