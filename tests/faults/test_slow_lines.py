"""A line that carries little: what is sent and fetched at once becomes small enough for it."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from oban_sqla import Heartbeat, JobSpec, Oban, job
from oban_sqla.enqueueing import parameters, writer
from oban_sqla.runtime import acks
from oban_sqla.runtime.lanes.lane import Lane
from oban_sqla.statements.statement import Statement
from tests.cluster.helpers import LOCKED
from tests.faults.jobs import gate, runs, wait
from tests.faults.proxy import Proxy
from tests.runtime.helpers import execute, finished, insert, load, until
from tests.support import eventually

BUDGET = 4
"""Rows that the line carries in time."""

began: list[int] = []


@job(name="slow.carry")
async def carry(number: int, text: str = "") -> None:
    began.append(number)


@job(name="slow.fail_together")
async def fail_together(number: int) -> None:
    began.append(number)
    await gate("together").wait()
    raise ValueError("a long story: " + "and then " * 3_000)


@pytest.fixture(autouse=True)
def nothing_began() -> None:
    began.clear()


async def test_jobs_whose_arguments_take_too_long_together_are_fetched_in_smaller_batches(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to a fetch of more than four jobs does not come in time; the server has committed it."""
    run = Lane.run_unshielded
    sizes: list[int] = []

    async def slow(self: Lane, statement: Statement, /, **given: Any) -> Any:
        rows = await run(self, statement, **given)
        if statement.name.startswith("fetch"):
            sizes.append(given["limit"])
            if len(rows) > BUDGET:
                raise await self._failed(statement.name, TimeoutError("no answer within 10 s"))
        return rows

    monkeypatch.setattr(Lane, "run_unshielded", slow)
    ids = await insert(engine, *(carry.new(number) for number in range(60)))
    async with Oban(engine, queues={"default": 60}, poll_interval=0.1):
        await finished(engine, ids, timeout=30)
    assert sorted(began) == list(range(60)), "each of them once"
    assert min(sizes) <= BUDGET


async def test_outcomes_that_take_too_long_together_are_sent_in_smaller_batches(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Lane.run_unshielded
    sizes: list[int] = []

    async def slow(self: Lane, statement: Statement, /, **given: Any) -> Any:
        if statement.name == "acknowledge":
            sizes.append(len(given["id"]))
            if len(given["id"]) > BUDGET:
                raise await self._failed(statement.name, TimeoutError("no answer within 10 s"))
        return await run(self, statement, **given)

    monkeypatch.setattr(Lane, "run_unshielded", slow)
    ids = await insert(engine, *(fail_together.new(number) for number in range(60)))
    async with Oban(engine, queues={"default": 60}, poll_interval=0.1):
        await eventually(lambda: len(began) == 60)
        gate("together").set()
        for job_id in ids:
            await until(engine, job_id, "retryable", timeout=30)
    assert max(sizes) > BUDGET, "or this proves nothing"


async def test_long_errors_are_not_sent_all_at_once(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acks, "LARGEST_BYTES", 100_000)
    run = Lane.run_unshielded
    sizes: list[int] = []

    async def noted(self: Lane, statement: Statement, /, **given: Any) -> Any:
        if statement.name == "acknowledge":
            sizes.append(sum(len(error) for error in given["error"]))
        return await run(self, statement, **given)

    monkeypatch.setattr(Lane, "run_unshielded", noted)
    ids = await insert(engine, *(fail_together.new(number) for number in range(40)))
    async with Oban(engine, queues={"default": 40}, poll_interval=0.1):
        await eventually(lambda: len(began) == 40)
        gate("together").set()
        for job_id in ids:
            await until(engine, job_id, "retryable")
    assert sum(sizes) > 400_000
    assert max(sizes) <= 100_000


@pytest.mark.parametrize("by", ["enqueue", "oban"])
async def test_a_thousand_large_jobs_are_enqueued_in_several_statements(
    any_engine: AsyncEngine, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parameters, "LARGEST_BYTES", 1_000_000)
    specs = [carry.new(number, "x" * 100_000) for number in range(50)]
    sizes: list[int] = []
    insertion = parameters.insertion

    def noted(given: list[JobSpec]) -> Any:
        sizes.append(sum(len(spec.args_json) for spec in given))
        return insertion(given)

    monkeypatch.setattr(writer, "insertion", noted)
    if by == "enqueue":
        await insert(any_engine, *specs)
    else:
        monkeypatch.setattr("oban_sqla.runtime.inserts.LARGEST_BYTES", 1_000_000)
        async with Oban(any_engine) as oban:
            await oban.enqueue(specs)
    assert [spec.id for spec in specs] == sorted(spec.id or 0 for spec in specs)
    assert max(sizes) <= 1_000_000
    assert sum(sizes) > 5_000_000
    [[count]] = await execute(any_engine, "SELECT count(*) FROM oban_jobs")
    assert count == 50


async def test_an_outcome_that_meets_a_lock_for_a_moment_is_written_right_after_it(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acks, "LOCKED_RETRY", 3600.0)
    run = Lane.run_unshielded
    met: list[str] = []

    async def locked_once(self: Lane, statement: Statement, /, **given: Any) -> Any:
        if statement.name == "complete" and not met:
            met.append("a lock")
            return []
        return await run(self, statement, **given)

    monkeypatch.setattr(Lane, "run_unshielded", locked_once)
    async with Oban(engine, queues={"default": 1}):
        [job_id] = await insert(engine, carry.new(1))
        await until(engine, job_id, "completed", timeout=10)
    assert met


async def test_a_node_that_takes_too_long_to_connect_keeps_its_jobs(engine: AsyncEngine, between: Proxy) -> None:
    """As where a round trip takes 2.6 s: what is connected works, and a new connection is given up before it stands."""
    slow = create_async_engine(between.url)
    pace = Heartbeat(interval=0.1, stale_after=1.0)
    try:
        async with (
            Oban(engine, node="leader", heartbeat=pace, lifeline_interval=0.1),
            Oban(slow, queues={"default": 2}, node="slow", heartbeat=pace),
        ):
            [job_id] = await insert(engine, wait.new("slow"))
            await until(engine, job_id, "executing")
            between.ignore()
            [[_, pid]] = await execute(engine, LOCKED)
            await execute(engine, f"SELECT pg_terminate_backend({pid})")
            beats: set[Any] = set()

            async def have_come() -> bool:
                [[beat, locked]] = await execute(engine, "SELECT updated_at, meta->>'locked' FROM oban_producers")
                if locked == "false":
                    beats.add(beat)
                return len(beats) == 4

            await eventually(have_come)
            running = await load(engine, job_id)
            assert (running.state, running.attempt) == ("executing", 1)
            between.answer()
            gate("slow").set()
            await finished(engine, [job_id])
        assert runs(job_id) == 1
    finally:
        await slow.dispose()
