"""Two producers on one queue, whose statements fail at random at the driver."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import Oban, Queue
from oban_sqla.runtime.loop import Loop
from tests.faults.jobs import note, ran
from tests.runtime.helpers import finished, insert

JOBS = 600


class Unreliable:
    """What the lanes' connections do with a share of the statements: lose it, lose its answer, or answer late."""

    def __init__(self, share: float, seed: int) -> None:
        self.share = share
        self.random = random.Random(seed)
        self.count = 0
        self._fetch = asyncpg.Connection.fetch

    async def fetch(self, connection: Any, sql: str, *parameters: Any, timeout: float | None = None) -> Any:
        chance = self.random.random()
        if not sql.startswith("UPDATE oban_jobs") or chance > self.share:
            return await self._fetch(connection, sql, *parameters, timeout=timeout)
        self.count += 1
        match int(chance / self.share * 4):
            case 0:
                raise ConnectionResetError("lost before it was sent")
            case 1:
                await self._fetch(connection, sql, *parameters, timeout=timeout)
                raise ConnectionResetError("its answer was lost")
            case 2:
                await self._fetch(connection, sql, *parameters, timeout=timeout)
                raise TimeoutError
            case _:
                raise asyncpg.exceptions.DeadlockDetectedError("deadlock detected")


@pytest.fixture
def unreliable(monkeypatch: pytest.MonkeyPatch) -> Iterator[Unreliable]:
    made = Unreliable(share=0.15, seed=20)

    async def fetch(connection: Any, sql: str, *parameters: Any, **options: Any) -> Any:
        return await made.fetch(connection, sql, *parameters, **options)

    # SQLAlchemy's own executions do not come this way; only lanes call it.
    monkeypatch.setattr(asyncpg.Connection, "fetch", fetch)
    # So that a run of failures does not make the test wait; the schedule of reconciling is the real one.
    monkeypatch.setattr(Loop, "longest_retry", 0.3)
    yield made
    made.share = 0.0


@pytest.mark.parametrize("prefetch", [0, 50])
async def test_two_producers_with_failing_statements_run_every_job_once(
    engine: AsyncEngine, unreliable: Unreliable, prefetch: int
) -> None:
    queue = Queue(limit=10, prefetch=prefetch)
    async with (
        Oban(engine, queues={"default": queue}, node="one", poll_interval=0.1),
        Oban(engine, queues={"default": queue}, node="two", poll_interval=0.1),
    ):
        # Both are there before the first job, and no job is so quick that one could take them all.
        ids = await insert(engine, *(note.new(0.01) for _ in range(JOBS)))
        jobs = await finished(engine, ids, timeout=60)
        unreliable.share = 0.0
    assert unreliable.count > 2
    assert {job.attempted_by[0] for job in jobs} == {"one", "two"}
    # A job whose fetch went unheard was given back with its attempt, so that every one succeeds in its first.
    assert ran == {(job_id, 1): 1 for job_id in ids}
