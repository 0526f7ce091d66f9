"""Queues that are paused, scaled and stopped while they are full, with and without jobs claimed ahead."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import InvalidOption, Oban, Queue
from oban_sqla.runtime.attempt import Attempt
from oban_sqla.runtime.fetcher import Fetcher
from oban_sqla.runtime.pace import Pace
from oban_sqla.runtime.producer import Producer
from oban_sqla.runtime.row import Row
from tests.faults.jobs import gate, note, ran, wait
from tests.runtime.helpers import execute, finished, insert, load, until
from tests.support import eventually


def producer_of(oban: Oban) -> Producer:
    assert oban._node is not None
    return oban._node.producers["default"]


def pace_of(producer: Producer) -> Pace:
    assert isinstance(producer._fetcher, Fetcher)
    return producer._fetcher._pace


async def states(engine: AsyncEngine) -> dict[str, int]:
    rows = await execute(engine, "SELECT state::text, count(*) FROM oban_jobs GROUP BY 1")
    return {row.state: row.count for row in rows}


async def claim_ahead(engine: AsyncEngine, oban: Oban, ahead: int) -> list[int]:
    """Fill the queue with jobs that wait at a gate, and claim as many more; the ids of them all."""
    producer = producer_of(oban)
    pace_of(producer)._job, pace_of(producer)._trip = 1e-9, 1.0  # as if jobs had been short
    ids = await insert(engine, *(wait.new("end") for _ in range(producer.limit + ahead)))
    await eventually(lambda: len(producer._claimed) == ahead)
    assert len(producer.running) == producer.limit
    return ids


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims may wait for as long as the test takes."""
    monkeypatch.setattr("oban_sqla.runtime.producer.LONGEST_CLAIM", 60.0)


@pytest.mark.parametrize("prefetch", [0, 100])
async def test_a_full_queue_is_paused_scaled_and_resumed_with_no_job_lost_and_its_limit_obeyed(
    any_engine: AsyncEngine, prefetch: int
) -> None:
    async with Oban(any_engine, queues={"default": Queue(limit=10, prefetch=prefetch)}, poll_interval=0.1) as oban:
        producer = producer_of(oban)
        most = 0
        limit = 10
        over: list[int] = []
        original = producer._attempt

        def watched(row: Row) -> Attempt:
            nonlocal most
            running = len(producer.running) + 1  # with this one
            most = max(most, running)
            if running > producer.limit:
                over.append(running)
            return original(row)

        producer._attempt = watched
        ids = await insert(any_engine, *(note.new(0.002) for _ in range(600)))
        for limit in (3, 20, 1, 8, 15):
            await eventually(lambda: len(ran) > 5)
            producer.adjust(Queue(limit=limit, paused=True))
            # A fetch that was under way gives back what it took.
            await eventually(lambda: _none_executes(any_engine))
            quiet = len(ran)
            await execute(any_engine, "SELECT pg_sleep(0.05)")
            assert len(ran) == quiet, "nothing starts in a paused queue"
            assert producer.idle
            producer.adjust(Queue(limit=limit))
            goes_on = min(quiet + 1, len(ids))
            await eventually(partial(_have_run, goes_on))
        await finished(any_engine, ids, timeout=30)
    assert over == []
    assert most <= 20
    assert ran == {(job_id, 1): 1 for job_id in ids}


async def test_a_full_queue_that_is_scaled_down_lets_jobs_end_and_starts_no_more_than_the_new_limit(
    engine: AsyncEngine,
) -> None:
    async with Oban(engine, queues={"default": 10}, poll_interval=0.1) as oban:
        producer = producer_of(oban)
        await insert(engine, *(wait.new("end") for _ in range(10)))
        await eventually(lambda: len(producer.running) == 10)
        more = await insert(engine, *(wait.new("more") for _ in range(10)))
        producer.adjust(Queue(limit=2))
        gate("end").set()
        await eventually(lambda: sum((job_id, 1) in ran for job_id in more) == 2)
        assert len(producer.running) == 2
        gate("more").set()
        await finished(engine, more)


async def test_claimed_jobs_wait_in_the_node_and_run_in_order_without_another_fetch(
    engine: AsyncEngine, patient: None
) -> None:
    async with Oban(engine, queues={"default": Queue(limit=5, prefetch=20)}) as oban:
        ids = await claim_ahead(engine, oban, 20)
        assert await states(engine) == {"executing": 25}
        assert len(producer_of(oban).running) == 5, "never more than the limit run at once"
        gate("end").set()
        await finished(engine, ids)
    assert [job_id for job_id, _ in ran] == ids
    assert set(ran.values()) == {1}


async def test_claimed_jobs_of_a_paused_queue_are_given_back_at_once(engine: AsyncEngine, patient: None) -> None:
    async with Oban(engine, queues={"default": Queue(limit=5, prefetch=20)}) as oban:
        ids = await claim_ahead(engine, oban, 20)
        producer_of(oban).adjust(Queue(limit=5, paused=True, prefetch=20))
        await eventually(lambda: _are(engine, {"executing": 5, "available": 20}))
        for job_id in ids[5:]:
            job = await load(engine, job_id)
            assert (job.attempt, job.errors) == (0, [])
        gate("end").set()
        await finished(engine, ids[:5])
    assert len(ran) == 5


async def test_claimed_jobs_of_a_stopping_node_are_given_back_before_the_grace_begins(
    engine: AsyncEngine, patient: None
) -> None:
    oban = Oban(engine, queues={"default": Queue(limit=5, prefetch=20)}, shutdown_grace=5)
    await oban.start()
    ids = await claim_ahead(engine, oban, 20)
    stopping = asyncio.create_task(oban.stop())
    await eventually(lambda: _are(engine, {"executing": 5, "available": 20}))
    gate("end").set()
    assert await stopping == []
    assert await states(engine) == {"completed": 5, "available": 20}
    assert {job_id for job_id, _ in ran} == set(ids[:5])
    assert {(await load(engine, job_id)).attempt for job_id in ids[5:]} == {0}


async def test_a_claimed_job_can_be_cancelled_before_it_starts(engine: AsyncEngine, patient: None) -> None:
    async with Oban(engine, queues={"default": Queue(limit=5, prefetch=20)}) as oban:
        ids = await claim_ahead(engine, oban, 20)
        assert await oban.cancel(ids[10]) == 1
        cancelled = await until(engine, ids[10], "cancelled", timeout=9)
        gate("end").set()
        await finished(engine, [job_id for job_id in ids if job_id != ids[10]])
    assert (ids[10], 1) not in ran
    assert cancelled.attempt == 1


async def test_what_waits_in_vain_is_given_back_for_other_nodes(engine: AsyncEngine) -> None:
    async with Oban(engine, queues={"default": Queue(limit=5, prefetch=20)}) as oban:
        producer = producer_of(oban)
        pace_of(producer)._job, pace_of(producer)._trip = 0.01, 0.02  # the jobs were shorter than they are now
        ids = await insert(engine, *(wait.new("end") for _ in range(15)))
        await eventually(lambda: len(producer._claimed) > 0)
        await eventually(lambda: _are(engine, {"executing": 5, "available": 10}))
        assert pace_of(producer).ahead(5) == 0, "and nothing more is claimed while jobs take so long"
        await execute(engine, "SELECT pg_sleep(0.3)")
        assert await states(engine) == {"executing": 5, "available": 10}
        gate("end").set()
        await finished(engine, ids)
    assert set(ran.values()) == {1}


async def test_what_a_paused_node_gives_back_another_runs_at_once(engine: AsyncEngine, patient: None) -> None:
    async with Oban(engine, queues={"default": Queue(limit=5, prefetch=20)}, node="one", notify="off") as one:
        await claim_ahead(engine, one, 20)
        async with Oban(engine, queues={"default": 30}, node="two", poll_interval=60):
            await execute(engine, "SELECT pg_sleep(0.1)")
            assert len(ran) == 5
            producer_of(one).adjust(Queue(limit=5, paused=True, prefetch=20))
            await eventually(lambda: len(ran) == 25)
            gate("end").set()
            await eventually(lambda: _are(engine, {"completed": 25}))


async def test_claims_held_through_a_long_pause_of_the_process_are_not_started(engine: AsyncEngine) -> None:
    async with Oban(engine, queues={"default": Queue(limit=5, prefetch=20)}) as oban:
        producer = producer_of(oban)
        ids = await insert(engine, *(wait.new("end") for _ in range(5)))
        await eventually(lambda: len(producer.running) == 5)
        pace_of(producer)._job, pace_of(producer)._trip = 1e-9, 1.0
        late = await insert(engine, *(note.new() for _ in range(10)))
        await eventually(lambda: len(producer._claimed) == 10)
        # As if it had been stopped for a minute: in that time the jobs may have been rescued and run by another node.
        producer._claimed = type(producer._claimed)((row, since - 60) for row, since in producer._claimed)
        gate("end").set()
        await finished(engine, ids + late, timeout=9)
    assert set(ran.values()) == {1}


async def test_the_rescuer_leaves_claimed_jobs_of_a_live_producer_alone_and_reconciling_does_too(
    engine: AsyncEngine, patient: None
) -> None:
    async with Oban(engine, queues={"default": Queue(limit=5, prefetch=20)}) as oban:
        ids = await claim_ahead(engine, oban, 20)
        producer = producer_of(oban)
        producer.doubt()
        producer.wake()
        await eventually(lambda: len(producer._reconciliation._at) < 5)
        assert await states(engine) == {"executing": 25}
        gate("end").set()
        await finished(engine, ids)
    assert set(ran.values()) == {1}


def _have_run(count: int) -> bool:
    return len(ran) >= count


async def _none_executes(engine: AsyncEngine) -> bool:
    return "executing" not in await states(engine)


async def _are(engine: AsyncEngine, expected: dict[str, int]) -> bool:
    found = await states(engine)
    assert found == expected
    return True


def test_nothing_is_claimed_ahead_unless_jobs_are_shorter_than_the_way_to_the_database() -> None:
    pace = Pace(50)
    assert pace.ahead(10) == 0, "nothing was measured yet"
    pace.trip(0.001)
    pace.job(0.002)
    assert pace.ahead(10) == 0
    for _ in range(50):
        pace.job(0.0005)
    assert 18 <= pace.ahead(10) <= 21, "as many as run during one round trip"
    for _ in range(50):
        pace.job(0.0)
    assert pace.ahead(10) == 50, "at most what was allowed"
    off = Pace(0)
    off.trip(1.0)
    off.job(0.0)
    assert off.ahead(10) == 0


@pytest.mark.parametrize("prefetch", [-1, 1.5, True, 10_001, "10"])
def test_a_prefetch_out_of_range_is_refused(prefetch: Any) -> None:
    with pytest.raises(InvalidOption, match="0 to 10,000"):
        Queue(prefetch=prefetch)


def test_prefetch_is_off_by_default() -> None:
    assert Queue().prefetch == 0
