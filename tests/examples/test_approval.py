"""``examples/approval`` under uvicorn: a person's answer wakes a job, also after a restart of the application."""

from __future__ import annotations

import re
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from oban_sqla import migrations
from tests.processes import Process, running
from tests.support import eventually


@asynccontextmanager
async def application(url: str, log: Path) -> AsyncGenerator[tuple[Process, httpx.AsyncClient]]:
    command = ["-m", "uvicorn", "examples.approval.main:app", "--port", "0"]
    with running(command, log, environment={"DATABASE_URL": url}) as process:
        written = await process.says("Uvicorn running on")
        (address,) = re.findall(r"running on (http://\S+)", written)
        async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=30) as web:
            yield process, web


async def test_an_approval_pays_once_though_the_application_was_killed(empty_database: str, tmp_path: Path) -> None:
    engine = create_async_engine(empty_database)
    await migrations.migrate(engine)
    async with application(empty_database, tmp_path / "first") as (process, web):
        bought = (await web.post("/purchases", json={"what": "desk", "euros": 300})).json()
        refused = (await web.post("/purchases", json={"what": "yacht", "euros": 9_000})).json()
        await eventually(lambda: _says(web, bought["id"], "waits for the signal 'answer' until"), 30)
        await web.post(f"/purchases/{refused['id']}/answer", json={"approved": False, "by": "bob"})
        await eventually(lambda: _is(web, refused["id"], "refused by bob"), 30)
        process.signal(signal.SIGKILL)
    async with application(empty_database, tmp_path / "second") as (process, web):
        sent = await web.post(f"/purchases/{bought['id']}/answer", json={"approved": True, "by": "ann"})
        assert sent.json() == {"sent": True}
        await eventually(lambda: _is(web, bought["id"], "approved by ann"), 30)
        await eventually(lambda: _conflicts(web, bought["id"]), 30)
        process.signal(signal.SIGTERM)
        await process.ended()
    async with engine.connect() as connection:
        payments = (await connection.execute(text("SELECT euros, approved_by FROM approval_payments"))).all()
    await engine.dispose()
    assert [tuple(row) for row in payments] == [(300, "ann")]


async def _look(web: httpx.AsyncClient, id: int) -> dict[str, Any]:
    found: dict[str, Any] = (await web.get(f"/purchases/{id}")).raise_for_status().json()
    return found


async def _says(web: httpx.AsyncClient, id: int, said: str) -> bool:
    return said in str((await _look(web, id))["job"])


async def _is(web: httpx.AsyncClient, id: int, state: str) -> bool:
    return bool((await _look(web, id))["state"] == state)


async def _conflicts(web: httpx.AsyncClient, id: int) -> bool:
    answer = await web.post(f"/purchases/{id}/answer", json={"approved": True, "by": "eve"})
    return answer.status_code == 409
