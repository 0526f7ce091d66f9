"""The connection dies after the server has committed and before the answer (R4, R8)."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Executable, func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import Oban, telemetry
from oban_sqla.runtime import reconciliation
from oban_sqla.runtime.acks import parameters
from oban_sqla.runtime.lanes.failure import StatementFailed
from oban_sqla.runtime.lanes.lane import Lane
from oban_sqla.runtime.lanes.line import Line
from oban_sqla.runtime.lanes.watchdog import Watchdog, within
from oban_sqla.runtime.refusals import Refusals
from oban_sqla.runtime.row import row_of
from oban_sqla.runtime.verdict import given_back
from oban_sqla.statements.ack import acknowledge, complete, not_held, still_ours
from oban_sqla.statements.fetch import fetch
from oban_sqla.statements.ping import ping
from oban_sqla.statements.statement import statement
from tests.faults.jobs import gate, note, ran, runs, snooze_then_wait, wait
from tests.faults.proxy import Proxy
from tests.runtime.helpers import execute, finished, insert, load, until
from tests.support import eventually

FETCH = "RETURNING oban_jobs.id, oban_jobs.worker"
COMPLETE = "UPDATE oban_jobs SET state=CAST($"
ACKNOWLEDGE = "given(id, attempt, producer, attempted_at, state"


async def test_jobs_whose_fetch_was_committed_unheard_run_within_five_seconds_once_with_no_attempt_burned(
    engine: AsyncEngine, proxied: AsyncEngine, between: Proxy
) -> None:
    async with Oban(proxied, queues={"default": 20}, poll_interval=60):
        await eventually(lambda: any(FETCH in sql for sql in between.executed), 20)
        fetch = between.lose_answer(FETCH)
        ids = await insert(engine, *(note.new() for _ in range(10)))
        await asyncio.wait_for(fetch.sprung.wait(), 5)
        lost = time.monotonic()
        jobs = await finished(engine, ids, timeout=20)
        assert time.monotonic() - lost < 15, "five, on a machine that is free; the next poll is after sixty"
    assert {job.attempt for job in jobs} == {1}
    assert ran == {(job_id, 1): 1 for job_id in ids}
    assert all(job.errors == [] for job in jobs)


async def test_a_fetch_that_is_lost_three_times_in_a_row_loses_nothing(
    engine: AsyncEngine, proxied: AsyncEngine, between: Proxy
) -> None:
    async with Oban(proxied, queues={"default": 20}, poll_interval=60):
        await eventually(lambda: any(FETCH in sql for sql in between.executed), 20)
        fetch = between.lose_answer(FETCH, times=3)
        ids = await insert(engine, *(note.new() for _ in range(10)))
        await eventually(lambda: fetch.left == 0, 10)
        jobs = await finished(engine, ids, timeout=9)
    assert {job.attempt for job in jobs} == {1}
    assert ran == {(job_id, 1): 1 for job_id in ids}


async def test_what_one_statement_is_not_enough_for_is_given_back_at_once(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciliation, "LARGEST", 2)
    await insert(engine, *(note.new() for _ in range(5)))
    lost = "UPDATE oban_jobs SET state = 'executing', attempt = 1, attempted_at = now(), attempted_by = '{here,lost}'"
    await execute(engine, lost)
    lane = Lane(Line(engine, pooled=False), "fetching")
    looks = reconciliation.Reconciliation(lane, Refusals())
    looks.fetched()
    for left in (3, 1, 0):
        assert await looks.run("producer", "default", "lost", held=[])
        assert await execute(engine, "SELECT count(*) FROM oban_jobs WHERE state = 'executing'") == [(left,)]
        assert (looks.due <= time.monotonic()) is (left > 0)
    await lane.close()


async def test_a_completion_that_was_committed_unheard_is_not_repeated(engine: AsyncEngine, between: Proxy) -> None:
    fenced: list[Any] = []
    telemetry.attach("test", ["oban.fenced"], lambda _, fields: fenced.append(fields["job_id"]))
    from sqlalchemy.ext.asyncio import create_async_engine

    through = create_async_engine(between.url)
    try:
        async with Oban(through, queues={"default": 5}) as oban:
            ack = between.lose_answer(COMPLETE)
            [job_id] = await insert(engine, note.new())
            await asyncio.wait_for(ack.sprung.wait(), 5)
            done = await load(engine, job_id)
            assert done.state == "completed", "the server had committed it"
            assert oban._node is not None
            queued = oban._node.acks
            await eventually(lambda: len(queued) == 0)
            again = await load(engine, job_id)
        assert fenced == [], "it was not given to another run"
        assert (again.completed_at, again.attempt, again.errors) == (done.completed_at, 1, [])
        assert ran == {(job_id, 1): 1}
    finally:
        telemetry.detach("test")
        await through.dispose()


async def test_an_ack_of_another_attempt_producer_or_moment_changes_nothing(engine: AsyncEngine) -> None:
    await insert(engine, note.new())
    by = ["here", "it"]
    taking: dict[str, Any] = {"queue": "default", "attempted_by": by, "unknown": [], "limit": 1}
    async with engine.begin() as connection:
        [values] = await connection.run_sync(lambda sync: fetch.execute(sync, **taking).all())
        ack = given_back(row_of(*values, "default", by))
        others: list[dict[str, Any]] = [{"attempt": 2}, {"producer": "other"}, {"attempted_at": datetime(2025, 1, 1)}]
        for statement in (still_ours, not_held, complete, acknowledge):
            for other in others:
                given = parameters(statement, [replace(ack, **other)])
                assert not await connection.run_sync(lambda sync: statement.execute(sync, **given).all()), other  # noqa: B023
        given = parameters(complete, [ack])
        assert await connection.run_sync(lambda sync: complete.execute(sync, **given).all()) == [(ack.id,)]


async def test_of_a_batch_that_was_heard_of_in_part_only_the_rest_is_sent_again(
    engine: AsyncEngine, proxied: AsyncEngine, between: Proxy
) -> None:
    fenced: list[Any] = []
    telemetry.attach("test", ["oban.fenced"], lambda _, fields: fenced.append(fields["job_id"]))
    try:
        async with Oban(proxied, queues={"default": 5}, poll_interval=60) as oban:
            assert oban._node is not None
            queued = oban._node.acks
            await queued.stop()  # so that both are in one batch: the plain one is sent first
            ids = await insert(engine, note.new(), wait.new("end"))
            await eventually(lambda: len(queued) == 1 and runs(ids[1]) == 1)
            await oban.cancel(ids[1])
            await eventually(lambda: len(queued) == 2)
            lost = between.lose_answer(ACKNOWLEDGE)
            queued.start()
            await asyncio.wait_for(lost.sprung.wait(), 5)
            await eventually(lambda: len(queued) == 0)
        assert [(await load(engine, job_id)).state for job_id in ids] == ["completed", "cancelled"]
        assert fenced == []
    finally:
        telemetry.detach("test")


async def test_an_ack_that_was_committed_unheard_does_not_end_the_next_run_of_the_same_attempt(
    engine: AsyncEngine, proxied: AsyncEngine, between: Proxy
) -> None:
    async with Oban(proxied, queues={"default": 5}, poll_interval=0.05):
        ack = between.lose_answer(ACKNOWLEDGE)
        [job_id] = await insert(engine, snooze_then_wait.new("end"))
        await asyncio.wait_for(ack.sprung.wait(), 5)
        between.refuses = True  # so that the ack can't be sent again before the next run has begun
        await eventually(lambda: runs(job_id) == 2)
        executed = between.executed.copy()
        between.refuses = False
        await eventually(lambda: _more(between, executed, ACKNOWLEDGE))
        # It has been sent a second time; had it counted, the job would be given to another run beside this one.
        await execute(engine, "SELECT pg_sleep(0.2)")
        running = await load(engine, job_id)
        gate("end").set()
        done = await until(engine, job_id, "completed")
    assert running.state == "executing"
    assert runs(job_id) == 2
    assert done.meta["snoozed"] == 1


def _more(between: Proxy, before: Any, words: str) -> bool:
    return any(count > before[sql] for sql, count in between.executed.items() if words in sql)


async def test_a_fetch_that_stalls_counts_as_unknown_and_what_it_commits_later_still_runs(
    engine: AsyncEngine, between: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy.ext.asyncio import create_async_engine

    through = create_async_engine(between.url)
    try:
        oban = Oban(through, queues={"default": 20}, poll_interval=60)
        async with oban:
            await eventually(lambda: any(FETCH in sql for sql in between.executed), 20)
            assert oban._node is not None
            lane = oban._node.connections.fetching
            await eventually(lambda: not lane._lock.locked())
            monkeypatch.setattr(lane, "_watchdog", Watchdog(0.3, lane._watchdog._end))
            between.stall()
            ids = await insert(engine, *(note.new() for _ in range(10)))
            await eventually(lambda: lane._connection is None, 20)
            assert not ran
            between.flow()  # the stalled fetch now reaches the server, which commits it for nobody
            jobs = await finished(engine, ids, timeout=9)
        assert {job.attempt for job in jobs} == {1}
        assert ran == {(job_id, 1): 1 for job_id in ids}
    finally:
        await through.dispose()


@statement
def sleep_for_a_while() -> Executable:
    return select(func.pg_sleep(0.4))


async def test_a_statement_timeout_is_an_unknown_outcome_and_closes_the_connection(any_engine: AsyncEngine) -> None:
    own = Line(any_engine)
    lane = Lane(own, "test", timeout=0.1)
    await lane.connect()
    with pytest.raises(StatementFailed) as raised:
        await lane.run(sleep_for_a_while)
    assert raised.value.unknown
    assert lane.connections == 1
    await lane.run(ping)
    assert lane.connections == 2
    await lane.close()
    await own.close()


async def test_a_statement_goes_on_when_its_caller_is_cancelled(any_engine: AsyncEngine) -> None:
    own = Line(any_engine)
    lane = Lane(own, "test")
    await lane.connect()
    caller = asyncio.create_task(lane.run(sleep_for_a_while))
    busy = (
        "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(%' AND state = 'active' AND pid <> pg_backend_pid()"
    )
    await eventually(lambda: _rows(any_engine, busy))
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert await _rows(any_engine, busy), "the statement runs to its end"
    assert (await lane.run(ping))[0][0] == 1
    assert lane.connections == 1
    await lane.close()
    await own.close()


async def _rows(engine: AsyncEngine, sql: str) -> Any:
    return await execute(engine, sql)


@pytest.mark.parametrize("after", [0, 4])
async def test_a_connection_that_stalls_while_it_is_made_is_given_up_in_time(
    proxied: AsyncEngine, between: Proxy, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    own = Line(proxied)
    lane = Lane(own, "test")
    between.stall_after(after)  # statements of the connecting itself
    began = time.monotonic()
    with monkeypatch.context() as patched, pytest.raises(StatementFailed, match="connecting"):
        patched.setattr("oban_sqla.runtime.lanes.lane.CONNECT_TIMEOUT", 0.3)
        await lane.connect()
    assert time.monotonic() - began < 4.5
    between.flow()
    assert (await lane.run(ping))[0][0] == 1
    await lane.close()
    await own.close()


async def test_callers_that_waited_for_a_connection_share_its_refusal(engine: AsyncEngine, between: Proxy) -> None:
    from sqlalchemy.ext.asyncio import create_async_engine

    own = Line(create_async_engine(between.url))
    lane = Lane(own, "test")
    between.stall()  # the connection is accepted, and nothing is said
    from oban_sqla.runtime.lanes import lane as lanes

    before, lanes.CONNECT_TIMEOUT = lanes.CONNECT_TIMEOUT, 0.3
    try:
        began = time.monotonic()
        results = await asyncio.gather(*(lane.run(ping) for _ in range(20)), return_exceptions=True)
        assert all(isinstance(result, StatementFailed) for result in results)
        assert time.monotonic() - began < 4.5, "not one attempt each, which would take six"
    finally:
        lanes.CONNECT_TIMEOUT = before
        between.flow()
    assert (await lane.run(ping))[0][0] == 1
    await lane.close()
    await own.close()


async def test_an_answer_has_its_time_again_when_jobs_have_held_up_the_event_loop() -> None:
    """It may lie there unread: late is the loop, not the server, and the connection with the locks is not given up."""
    cut: list[str] = []

    def cut_it() -> bool:
        cut.append("cut")
        return False

    answer = asyncio.Event()
    waiting = asyncio.create_task(within(0.05, answer.wait(), cut_it))
    watchdog = Watchdog(0.05, cut_it)
    watchdog.begin()
    await asyncio.sleep(0)
    time.sleep(0.4)  # noqa: ASYNC251 (as jobs that work in slices)
    for _ in range(3):
        await asyncio.sleep(0)
    answer.set()
    assert await waiting
    assert cut == []
    await eventually(lambda: watchdog.has_bitten)  # no answer has come in the time that it has had again
    watchdog.close()
