"""What the supervisor of ``oban-sqla start --processes N`` does when the machine or the database is in trouble."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from pathlib import Path
from typing import Any

import pytest

from oban_sqla.cli.supervisor import pages, supervisor
from oban_sqla.cli.supervisor.pages import Pages
from oban_sqla.cli.supervisor.runtime import RuntimeProcess
from oban_sqla.cli.supervisor.supervisor import Supervisor


async def test_a_signal_in_the_moment_in_which_the_pause_ends_is_heard() -> None:
    signalled = asyncio.Event()
    waiting = asyncio.create_task(supervisor._set_within(signalled, 0.01))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_later(0.02, signalled.set)
    time.sleep(0.05)  # noqa: ASYNC251 (so that both come in the same turn of the loop, in this order)
    assert await waiting is True


async def test_a_process_that_can_not_be_started_again_is_tried_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "oban_sqla")
    monkeypatch.setattr(supervisor, "FIRST_PAUSE", 0.01)
    kept = Supervisor([], 1, "web", tmp_path, None)
    kept._ready()
    tried: list[float] = []

    async def run(_process: Any) -> int:
        tried.append(time.monotonic())
        if len(tried) == 1:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        kept._signalled.set()
        return 0

    monkeypatch.setattr(RuntimeProcess, "run", run)
    assert await kept._keep(0) == 0
    assert len(tried) == 2
    assert "could not be started: [Errno 11] Resource temporarily unavailable" in caplog.text


async def test_metrics_are_waited_for_while_the_database_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PATIENCE", 0.05)
    path = str(tmp_path / "one.sock")
    served: list[Any] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(asyncio.current_task())
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.2)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n# TYPE oban_staged_total counter\noban_staged_total 3.0\n")
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async with await asyncio.start_unix_server(serve, path):
        assert b"oban_staged_total 3.0" in await Pages([path]).answer("GET", "/metrics")
        assert b"no answer within 0.05 s" in await Pages([path]).answer("GET", "/ready")
        await asyncio.gather(*served)
