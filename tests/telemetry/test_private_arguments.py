"""Arguments of jobs stand in no log and no span, also when the database refuses a job."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import JobSpec, Oban, ObanError, Unique, job, otel, telemetry
from tests.runtime.helpers import execute, finished, insert, until
from tests.support import eventually

SECRET = "swordfish"


@job(name="private.refused")
async def refused(password: str) -> None: ...


@job(name="private.fine")
async def fine() -> None: ...


@pytest.fixture
async def refusing(any_engine: AsyncEngine) -> AsyncIterator[Callable[[str], Any]]:
    """Puts a CHECK on the table, whose refusal quotes the whole row."""

    async def refuse(state: str) -> None:
        await execute(
            any_engine,
            "ALTER TABLE oban_jobs ADD CONSTRAINT no_fish CHECK "
            f"(NOT (args ->> 'password' IS NOT DISTINCT FROM '{SECRET}' AND state = '{state}')) NOT VALID",
        )

    yield refuse
    await execute(any_engine, "ALTER TABLE oban_jobs DROP CONSTRAINT IF EXISTS no_fish")


@pytest.fixture
def exporter() -> Any:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    otel.instrument(provider)
    yield exporter
    otel.uninstrument()


@pytest.mark.parametrize("unique", [None, Unique()])
async def test_the_span_of_an_insert_that_the_database_refuses_names_the_constraint_and_no_argument(
    any_engine: AsyncEngine, refusing: Callable[[str], Any], exporter: InMemorySpanExporter, unique: Unique | None
) -> None:
    await refusing("available")
    with pytest.raises(DBAPIError):
        await insert(any_engine, refused.options(unique=unique).new(SECRET))
    async with Oban(any_engine) as oban:
        with pytest.raises((ObanError, DBAPIError)):
            await oban.enqueue(refused.options(unique=unique).new(SECRET))
    spans = [span for span in exporter.get_finished_spans() if span.name.startswith("send")]
    assert len(spans) == 2
    for span in spans:
        assert SECRET not in str(span.to_json())
        [event] = span.events
        assert event.attributes is not None
        assert event.attributes["exception.type"]
    assert "no_fish" in str(spans[0].to_json())


@pytest.mark.parametrize("state", ["executing", "completed"])
async def test_the_log_of_a_job_that_the_database_refuses_names_the_constraint_and_no_argument(
    any_engine: AsyncEngine, refusing: Callable[[str], Any], state: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "oban_sqla")
    telemetry.attach_default_logger()
    try:
        ids = await insert(any_engine, refused.new(SECRET), refused.new("another"))
        await refusing(state)
        async with Oban(any_engine, queues={"default": 2}, poll_interval=0.05):
            await finished(any_engine, ids[1:])
            await eventually(lambda: "no_fish" in caplog.text)
    finally:
        telemetry.detach_default_logger()
    assert SECRET not in caplog.text


async def test_the_log_of_a_scheduled_job_that_the_database_refuses_names_no_argument(
    any_engine: AsyncEngine, refusing: Callable[[str], Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "oban_sqla")
    [stays, goes] = await insert(any_engine, *(refused.options(schedule_in=0.1).new(name) for name in (SECRET, "x")))
    await refusing("available")
    async with Oban(any_engine, queues={"default": 2}, poll_interval=0.05):
        await until(any_engine, goes, "completed")
        await eventually(lambda: f"job {stays}: the database refuses" in caplog.text)
    assert "no_fish" in caplog.text
    assert SECRET not in caplog.text


async def test_the_log_of_a_tick_whose_job_the_database_refuses_names_no_argument(
    any_engine: AsyncEngine, refusing: Callable[[str], Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "oban_sqla")
    await Oban(any_engine).crons.put("each minute", "* * * * *", JobSpec("private.refused", {"password": SECRET}))
    await execute(any_engine, "UPDATE oban_crons SET since = since - interval '1 hour'")
    await refusing("available")
    async with Oban(any_engine, poll_interval=0.05):
        await eventually(lambda: "no_fish" in caplog.text)
    assert SECRET not in caplog.text
    assert json.dumps(SECRET) not in caplog.text
