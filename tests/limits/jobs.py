"""Jobs that count how many of them run at once, by key, across all nodes of this process."""

from __future__ import annotations

import asyncio
from collections import Counter

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from oban_sqla import Snooze, current_job, job

Key = int | str | None | list[int] | dict[str, list[int]]

ALL = "all keys"

running: Counter[object] = Counter()
"""How many jobs of each key run now."""
most: Counter[object] = Counter()
"""How many jobs of each key ran at once, at most. All keys together count under ALL."""
starts: list[tuple[object, int]] = []
"""The key and the id of each start, in order."""
gate = asyncio.Event()
"""For those that wait for it. Of the test's own event loop."""


def reset() -> None:
    global gate
    running.clear()
    most.clear()
    starts.clear()
    gate = asyncio.Event()


def _begin(given: Key) -> None:
    key = _hashable(given)
    starts.append((key, current_job().id))
    for counted in (key, ALL):
        running[counted] += 1
        most[counted] = max(most[counted], running[counted])


def _end(key: Key) -> None:
    for counted in (_hashable(key), ALL):
        running[counted] -= 1


def _hashable(key: Key) -> object:
    return repr(key) if isinstance(key, list | dict) else key


@job(name="limits.brief")
async def brief(key: Key = 0, seconds: float = 0.0) -> None:
    _begin(key)
    try:
        await asyncio.sleep(seconds)
    finally:
        _end(key)


@job(name="limits.held")
async def held(key: Key = 0) -> None:
    """Runs until the gate opens."""
    _begin(key)
    try:
        await gate.wait()
    finally:
        _end(key)


# With a queue that no node works: else each node of the whole suite would start a child.
@job(name="limits.refused_in_child", queue="limits.children", executor="process")
def refused_in_child(key: Key = 0) -> Snooze:
    """The same in a child process."""
    return Snooze(3600, suspend="partition")


@job(name="limits.refused_in_session")
async def refused_in_session(session: AsyncSession, key: Key = 0) -> Snooze:
    """The same with a session, whose commit acknowledges it."""
    await session.execute(text("SELECT 1"))
    return Snooze(3600, suspend="partition")


@job(name="limits.refused")
async def refused(key: Key = 0, seconds: float = 30.0, suspend: str | None = "partition") -> Snooze:
    """Meets a service that says: come again later. The second attempt does not."""
    starts.append((key, current_job().id))
    return Snooze(seconds, suspend=suspend)  # type: ignore[arg-type]
