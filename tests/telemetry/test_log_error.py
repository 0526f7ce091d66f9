"""What code of the program raises is logged without the values that were sent to a database."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.requests import Request

from oban_sqla import Job, telemetry
from oban_sqla.web.access import operator_of
from oban_sqla.workers.hooks import Around

SECRET = "hunter2"
QUERY = text("SELECT CAST(:token AS integer)").bindparams(token=SECRET)
TRIGGER = text(f"DO $$ BEGIN RAISE EXCEPTION 'not {SECRET}' USING ERRCODE = 'QX001'; END $$")
"""As a trigger of the user's does, with a code that PostgreSQL does not have."""


async def fails(engine: AsyncEngine, query: TextClause) -> None:
    async with engine.connect() as connection:
        await connection.execute(query)


@pytest.mark.parametrize("query", [QUERY, TRIGGER], ids=["a value", "a trigger"])
async def test_a_hook_and_authorize_show_where_a_query_failed_and_no_parameter(
    any_engine: AsyncEngine, caplog: pytest.LogCaptureFixture, query: TextClause
) -> None:
    class Audits:
        async def after(self, job: Job, state: str, error: BaseException | None) -> None:
            await fails(any_engine, query)

    async def authorize(request: Request) -> Any:
        await fails(any_engine, query)

    around, job = Around([Audits()]), Job(id=7, worker="w", queue="q", attempt=1)
    await around.before(job)
    await around.after(job, "completed", None)
    assert await operator_of(Request({"type": "http", "headers": []}), authorize) is None
    assert len(caplog.records) == 2
    assert caplog.text.count("in fails") == 2
    assert SECRET not in caplog.text


def test_any_other_error_of_a_handler_is_shown_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    def handler(event: str, fields: Any) -> None:
        raise ValueError("boom")

    telemetry.attach("test", ["mine.event"], handler)
    telemetry.execute("mine.event")
    telemetry.detach("test")
    assert "the telemetry handler 'test' raised on mine.event" in caplog.text
    assert "ValueError: boom" in caplog.text
