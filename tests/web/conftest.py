"""A dashboard over a few jobs, and a browser's requests to it."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast
from urllib.parse import urlencode

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.requests import Request

from oban_sqla.web import Access, Dashboard, Operator, dashboard

ANNA = Operator("anna", Access.ALL)


class Browser:
    """Requests as a browser sends them."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.client.get(path, headers=headers)

    async def page(self, path: str) -> str:
        """The HTML of a page that is there."""
        response = await self.get(path)
        assert response.status_code == 200, f"{path}: {response.status_code}: {words(response.text)[:500]}"
        return response.text

    async def send(self, path: str, fields: dict[str, Any] | list[tuple[str, Any]], **headers: str) -> httpx.Response:
        """Send a form of this site."""
        body = urlencode(list(fields.items()) if isinstance(fields, dict) else fields)
        return await self.client.post(
            path,
            content=body,
            headers={"sec-fetch-site": "same-origin", "content-type": "application/x-www-form-urlencoded"} | headers,
        )


def words(html: str) -> str:
    """What a page says, without its tags."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html))


def may_do_everything(_request: Request) -> Operator:
    return ANNA


@asynccontextmanager
async def opened(given: Any, **options: Any) -> AsyncGenerator[Browser]:
    """A browser on a dashboard of its own."""
    given_or_default: dict[str, Any] = {"authorize": may_do_everything} | options
    app: Dashboard = dashboard(given, **given_or_default)
    browser = Browser(app)
    try:
        yield browser
    finally:
        await browser.client.aclose()
        await app.aclose()


@pytest.fixture
async def browser(engine: AsyncEngine) -> AsyncIterator[Browser]:
    """A browser of Anna, who may do everything."""
    async with opened(engine) as one:
        yield one


JOBS: tuple[dict[str, Any], ...] = (
    {"state": "available", "worker": "app.mail.send", "queue": "mail", "args": {"user_id": 7}, "tags": ["tenant-1"]},
    {"state": "available", "worker": "app.mail.send", "queue": "mail", "args": {"user_id": 8}},
    {"state": "scheduled", "worker": "app.report", "queue": "slow", "scheduled_at": "2099-01-01"},
    {"state": "executing", "worker": "app.media", "queue": "media", "attempt": 1, "attempted_by": ["web-1", "u"]},
    {"state": "completed", "worker": "app.mail.send", "queue": "mail", "attempt": 1, "meta": {"return": 42}},
    {"state": "discarded", "worker": "app.hook", "queue": "hooks", "attempt": 3, "max_attempts": 3, "error": "boom 17"},
    {"state": "discarded", "worker": "app.hook", "queue": "hooks", "attempt": 3, "max_attempts": 3, "error": "boom 18"},
    {"state": "retryable", "worker": "app.hook", "queue": "hooks", "attempt": 1, "error": "boom 19"},
    {"state": "cancelled", "worker": "app.report", "queue": "slow"},
    {"state": "suspended", "worker": "app.report", "queue": "slow"},
)


async def insert(engine: AsyncEngine, *given: dict[str, Any]) -> list[int]:
    """Write rows of jobs as any program could."""
    ids: list[int] = []
    async with engine.begin() as connection:
        for one in given:
            row = dict(one)
            error = row.pop("error", None)
            if error is not None:
                entry = {"attempt": row.get("attempt", 1), "at": "2026-11-26T13:00:00Z", "error": error}
                row["errors"] = [entry]
            for name in ("args", "meta", "errors"):
                if name in row:
                    row[name] = json.dumps(row[name])
            if row["state"] in ("completed", "discarded", "cancelled"):
                row.setdefault(f"{row['state']}_at", "now")
            if row["state"] not in ("available", "scheduled", "suspended"):
                row.setdefault("attempted_at", "now")
            columns = ", ".join(row)
            values = ", ".join(_value(name, value) for name, value in row.items())
            result = await connection.execute(text(f"INSERT INTO oban_jobs ({columns}) VALUES ({values}) RETURNING id"))
            ids.append(result.scalar_one())
    return ids


def _value(name: str, value: Any) -> str:
    if value == "now":
        return "timezone('UTC', now())"
    if isinstance(value, list):
        return "ARRAY[" + ", ".join(_quoted(str(one)) for one in cast("list[object]", value)) + "]::text[]"
    return _quoted(str(value))


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''").replace(":", "\\:") + "'"


@pytest.fixture
async def ids(engine: AsyncEngine) -> list[int]:
    """The ids of the jobs of :data:`JOBS`, in that order."""
    return await insert(engine, *JOBS)


async def states(engine: AsyncEngine) -> dict[int, str]:
    """The states of all jobs, by id."""
    async with engine.connect() as connection:
        rows = await connection.execute(text("SELECT id, state::text FROM oban_jobs ORDER BY id"))
        return {row.id: row.state for row in rows}


async def audit(engine: AsyncEngine) -> list[Any]:
    """The rows of the audit, the first one first."""
    async with engine.connect() as connection:
        return list(
            await connection.execute(text("SELECT who, via, verb, target, jobs, reason FROM oban_audit ORDER BY id"))
        )
