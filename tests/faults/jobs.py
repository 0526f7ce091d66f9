"""The jobs of these tests. Every start is noted, so that a run too many shows."""

from __future__ import annotations

import asyncio
from collections import Counter

from oban_sqla import Snooze, current_job, job

ran: Counter[tuple[int, int]] = Counter()
"""How often each (job, attempt) was started; emptied by the fixture of every test."""

gates: dict[str, asyncio.Event] = {}
"""What jobs wait for; made anew for every test."""


def gate(name: str) -> asyncio.Event:
    return gates.setdefault(name, asyncio.Event())


def runs(job_id: int) -> int:
    """How often a job was started."""
    return sum(count for (id, _), count in ran.items() if id == job_id)


def _note() -> None:
    running = current_job()
    ran[running.id, running.attempt] += 1


@job(name="faults.note")
async def note(seconds: float = 0.0) -> None:
    _note()
    if seconds:
        await asyncio.sleep(seconds)


@job(name="faults.wait")
async def wait(name: str) -> None:
    _note()
    await gate(name).wait()


@job(name="faults.snooze_then_wait")
async def snooze_then_wait(name: str) -> Snooze | None:
    _note()
    if runs(current_job().id) == 1:
        return Snooze(0)
    await gate(name).wait()
    return None


@job(name="faults.in_thread")
def in_thread() -> None:
    _note()
