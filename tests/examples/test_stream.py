"""``examples/stream`` under uvicorn: a browser that reconnects gets every token once."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from examples.stream.jobs import ANSWER
from tests.processes import running


@pytest.fixture
async def web(database_url: str, clean_tables: None, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    command = ["-m", "uvicorn", "examples.stream.main:app", "--port", "0"]
    with running(command, tmp_path / "log", environment={"DATABASE_URL": database_url}) as process:
        text = await process.says("Uvicorn running on")
        (address,) = re.findall(r"running on (http://\S+)", text)
        async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=20) as client:
            yield client


async def events(web: httpx.AsyncClient, path: str, after: int = 0, most: int = 1_000) -> list[tuple[str, Any]]:
    """The events of a stream as a browser takes them, until it ends or there are enough."""
    found: list[tuple[str, Any]] = []
    headers = {"Last-Event-ID": str(after)} if after else {}
    async with web.stream("GET", path, headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        name = ""
        async for line in answer.aiter_lines():
            kind, _, value = line.partition(": ")
            if kind in ("id", "event"):
                name = value
            elif kind == "data":
                found.append((name, json.loads(value)))
                if len(found) == most:
                    break
    return found


async def test_a_browser_that_reconnects_gets_every_token_once(web: httpx.AsyncClient) -> None:
    asked = await web.post("/answers", json={"text": "What is a job?", "pause": 0.01})
    assert asked.status_code == 202
    path = f"/answers/{asked.json()['id']}/tokens"
    first = await events(web, path, most=3)
    rest = await events(web, path, after=3)
    assert rest[-1] == ("end", {})
    seen = [*first, *rest[:-1]]
    assert [number for number, _ in seen] == [str(number) for number in range(1, len(seen) + 1)]
    assert " ".join(value["token"] for _, value in seen) == ANSWER
    assert await events(web, path, after=len(seen)) == [("end", {})]
    assert "EventSource" in (await web.get("/")).text
