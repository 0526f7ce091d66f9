"""Jobs that a test lets go on, and that say what happened to them."""

from __future__ import annotations

import asyncio
import threading
import time

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from oban_sqla import cancelled, job

events: list[str] = []
gate = threading.Event()


def reset() -> None:
    events.clear()
    gate.clear()


@job(name="control.waits")
async def waits() -> None:
    """Runs until the gate opens."""
    events.append("started")
    try:
        while not gate.is_set():  # noqa: ASYNC110 (a test opens it from any thread)
            await asyncio.sleep(0.01)
        events.append("ended")
    except asyncio.CancelledError:
        events.append("cancelled")
        raise


@job(name="control.asks")
def asks() -> None:
    """A thread that stops when it is told to."""
    events.append("started")
    while not cancelled() and not gate.is_set():
        time.sleep(0.01)
    events.append("told" if cancelled() else "ended")


@job(name="control.deaf")
def deaf() -> None:
    """A thread that does not ask."""
    events.append("started")
    gate.wait(20)


@job(name="control.stubborn", recorded=True)
async def stubborn() -> str:
    """A coroutine that goes on when it is cancelled."""
    events.append("started")
    while not gate.is_set():
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            events.append("cancelled")
    return "done"


@job(name="control.fails_when_cancelled")
async def fails_when_cancelled() -> None:
    events.append("started")
    try:
        await asyncio.sleep(30)
    finally:
        raise RuntimeError("its clean-up failed")


@job(name="control.writes")
async def writes(session: AsyncSession) -> None:
    """Writes in its transaction, and then waits."""
    await session.execute(text("INSERT INTO effects VALUES (1)"))
    events.append("started")
    await asyncio.sleep(30)


@job(name="control.noop")
async def noop() -> None:
    events.append("ran")


@job(name="control.adds", recorded=True)
async def adds(a: int, b: int = 1) -> int:
    return a + b


@job(name="control.boom")
async def boom() -> None:
    raise ValueError("boom\nas messages of several lines are")
