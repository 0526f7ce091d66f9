"""The dashboard through both drivers, and with the tables in a schema apart."""

from __future__ import annotations

import re
from typing import Any

import pytest
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from oban_sqla import JobSpec, Oban, enqueue, migrations
from tests.web.conftest import opened, words

PAGES = (
    "", "?period=day", "jobs", "jobs?state=available&queue=q", "jobs?tag=t&args.a=3&worker=app.*&since=1h",
    "jobs?error=x", "jobs?node=n", "jobs?state=scheduled", "jobs?state=completed&since=1h", "jobs?workflow=1", "job/1",
    "edit/1", "new?like=1", "queues", "queue?name=q", "flows", "failures", "crons", "nodes", "audit", "system",
)  # fmt: skip
FORMS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("jobs", {"verb": "cancel", "id": 1, "step": "do"}),
    ("jobs", {"verb": "retry", "id": 1, "step": "do"}),
    ("jobs", {"verb": "delete", "all": "yes", "q": "queue=q", "step": "do"}),
    ("enqueue", {"worker": "app.w", "args": "{}"}),
    ("edit", {"id": 61, "priority": 2}),
    ("queue", {"queue": "z", "verb": "start", "limit": "3"}),
    ("queue", {"queue": "z", "verb": "limit", "global_limit": "3"}),
    ("cron", {"name": "nightly", "verb": "run"}),
)


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_every_page_and_form_works_in_a_schema_apart(empty_database: str, driver: str) -> None:
    engine = create_async_engine(make_url(empty_database).set(drivername=f"postgresql+{driver}"))
    engine = engine.execution_options(schema_translate_map={None: "own"})
    try:
        await migrations.migrate(engine, "own")
        oban = Oban(engine)
        async with AsyncSession(engine) as session, session.begin():
            await enqueue(session, [JobSpec("app.w", {"a": number}, queue="q", tags=["t"]) for number in range(60)])
            await enqueue(session, JobSpec("app.x", schedule_in=60))
        await oban.crons.put("nightly", "0 3 * * *", JobSpec("app.report"))
        async with opened(oban) as browser:
            for page in PAGES:
                assert 'class="trouble"' not in await browser.page(f"/{page}"), page
            for page in ("/jobs", "/jobs?state=available&queue=q"):
                more = re.search(r'href="\./(jobs\?[^"]*after=[^"]*)">Next', await browser.page(page))
                assert more is not None
                assert "job-" in await browser.page("/" + more[1].replace("&amp;", "&"))
            for path, fields in FORMS:
                response = await browser.send(f"/do/{path}", fields)
                assert response.status_code == 303, (path, words(response.text))
            assert (await browser.page("/audit")).count("<tr>") == 1 + len(FORMS)
    finally:
        await engine.dispose()
