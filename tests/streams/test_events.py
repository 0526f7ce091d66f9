"""Events of a job: in order, each once, for every reader."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, cast

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from oban_sqla import Fenced, InvalidArgs, InvalidOption, Oban, current_job, emit, enqueue, job
from oban_sqla.control import streams
from oban_sqla.models.events import EventKind
from oban_sqla.runtime.lanes.failure import StatementFailed
from oban_sqla.statements.journal import record
from oban_sqla.statements.statement import Statement
from tests.runtime.helpers import execute, finished, insert, load, until, wake
from tests.support import eventually

go_on = asyncio.Event()
caught: list[BaseException] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    global go_on
    go_on = asyncio.Event()
    caught.clear()


@job(name="events.counts")
async def counts(upto: int) -> None:
    for number in range(1, upto + 1):
        await emit(number)


@job(name="events.tokens")
async def tokens() -> None:
    await emit({"token": "Hello"})
    await go_on.wait()
    await emit({"token": " world"})


@job(name="events.thread")
def in_a_thread(upto: int) -> None:
    for number in range(1, upto + 1):
        emit(number)


@job(name="events.twice", backoff=0)
async def twice() -> None:
    attempt = current_job().attempt
    for number in range(10):
        await emit([attempt, number])
    if attempt == 1:
        raise ValueError("the first attempt fails")


@job(name="events.session")
async def in_session(session: AsyncSession) -> None:
    await emit("before")
    await session.connection()
    await emit("after")


async def read(oban: Oban, job_id: int, after: int = 0) -> list[tuple[int, Any]]:
    """All events of a job, to its end."""
    async with asyncio.timeout(20):
        return [pair async for pair in oban.stream(job_id, after)]


async def test_a_reader_gets_them_in_order_until_the_job_ends(any_engine: AsyncEngine) -> None:
    async with Oban(any_engine, {"default": 2}) as oban:
        [job_id] = await insert(any_engine, counts.new(500))
        assert await read(oban, job_id) == [(number, number) for number in range(1, 501)]
        assert await read(oban, job_id, after=498) == [(499, 499), (500, 500)]
        assert await read(oban, job_id, after=500) == []


async def test_they_come_while_the_job_runs(any_engine: AsyncEngine) -> None:
    async with Oban(any_engine, {"default": 2}) as oban:
        [job_id] = await insert(any_engine, tokens.new())
        events = oban.stream(job_id)
        async with asyncio.timeout(20):
            assert await anext(events) == (1, {"token": "Hello"})
            go_on.set()
            assert await anext(events) == (2, {"token": " world"})
            assert [pair async for pair in events] == []


async def test_a_process_that_runs_nothing_reads_them(engine: AsyncEngine) -> None:
    reader = Oban(engine)
    async with Oban(engine, {"default": 2}):
        [spec] = await reader.enqueue(counts.new(3))
        assert spec.id is not None
        assert await read(reader, spec.id) == [(1, 1), (2, 2), (3, 3)]
        assert [pair async for pair in reader.stream(spec)] == [(1, 1), (2, 2), (3, 3)]


async def test_another_node_is_woken_by_a_notification(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "LONGEST_WAIT", 3600.0)
    async with Oban(engine, node="reader") as reader, Oban(engine, {"default": 2}, node="runner"):
        [job_id] = await insert(engine, tokens.new())
        await until(engine, job_id, "executing")
        events = reader.stream(job_id)
        async with asyncio.timeout(20):
            assert await anext(events) == (1, {"token": "Hello"})
            next_one = asyncio.ensure_future(anext(events))
            await eventually(lambda: reader._node is not None and job_id in reader._node.readers._of)
            go_on.set()
            assert await next_one == (2, {"token": " world"})
            assert [pair async for pair in events] == []


async def test_a_node_that_does_not_listen_looks(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 2}, notify="off", poll_interval=0.05) as oban:
        [job_id] = await insert(engine, tokens.new())
        events = oban.stream(job_id)
        async with asyncio.timeout(20):
            assert await anext(events) == (1, {"token": "Hello"})
            go_on.set()
            assert [pair async for pair in events] == [(2, {"token": " world"})]


async def test_a_plain_function_emits_more_than_fit_at_once(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 2}) as oban:
        [job_id] = await insert(engine, in_a_thread.new(12_000))
        assert await read(oban, job_id) == [(number, number) for number in range(1, 12_001)]


async def test_a_coroutine_emits_more_than_fit_at_once(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 2}) as oban:
        [job_id] = await insert(engine, counts.new(12_000))
        assert await read(oban, job_id) == [(number, number) for number in range(1, 12_001)]


async def test_a_second_attempt_goes_on_with_the_numbers(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 2}) as oban:
        [job_id] = await insert(engine, twice.new())
        expected = [[attempt, number] for attempt in (1, 2) for number in range(10)]
        assert await read(oban, job_id) == list(enumerate(expected, 1))


async def test_a_job_with_a_session_has_told_all_when_it_is_completed(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 2}) as oban:
        [job_id] = await insert(engine, in_session.new())
        await finished(engine, [job_id])
        assert await read(oban, job_id) == [(1, "before"), (2, "after")]


async def test_the_stream_of_a_job_that_is_not_there_ends(engine: AsyncEngine) -> None:
    assert [pair async for pair in Oban(engine).stream(123)] == []


async def test_the_stream_of_a_job_that_is_deleted_ends(engine: AsyncEngine) -> None:
    oban = Oban(engine)
    [job_id] = await insert(engine, counts.new(1))
    reading = asyncio.ensure_future(read(oban, job_id))
    await asyncio.sleep(0)
    await oban.delete(job_id)
    assert await reading == []


async def test_targets_and_numbers_are_checked_before_anything_is_read(engine: AsyncEngine) -> None:
    oban = Oban(engine)
    with pytest.raises(InvalidOption, match="stream: expected the id of a job"):
        oban.stream(counts.new(1))
    with pytest.raises(InvalidOption, match="0 or more, got -1"):
        oban.stream(1, after=-1)
    with pytest.raises(InvalidOption, match="0 or more, got '7'"):
        oban.stream(1, after=cast(Any, "7"))
    with pytest.raises(InvalidOption, match="logs: expected the id of a job"):
        await oban.logs(cast(Any, "7"))


async def test_an_event_that_json_cannot_carry_is_refused(engine: AsyncEngine) -> None:
    @job(name="events.refused")
    async def refused() -> None:
        for value in (object(), "\x00", float("nan"), "x" * 300_000):
            try:
                await emit(value)
            except InvalidArgs as error:
                caught.append(error)

    async with Oban(engine, {"default": 2}) as oban:
        [job_id] = await insert(engine, refused.new())
        assert await read(oban, job_id) == []
    assert len(caught) == 4


async def test_a_run_that_has_lost_its_job_writes_no_event(engine: AsyncEngine) -> None:
    """A node that was taken for dead wakes, and its run emits on."""
    resumed = asyncio.Event()

    @job(name="events.two_runs")
    async def two_runs() -> None:
        by = current_job().attempt
        await emit([by, 1])
        if by == 1:
            await resumed.wait()
            try:
                for number in range(2, 1000):
                    await emit([by, number])
                    await asyncio.sleep(0.01)
            except Fenced as error:
                caught.append(error)
                raise
        else:
            await go_on.wait()
            await emit([by, 2])

    async with Oban(engine, {"default": 3}, lifeline_interval=3600) as oban:
        [job_id] = await insert(engine, two_runs.new())
        await until(engine, job_id, "executing")
        await eventually(lambda: _count(engine, job_id))
        # As the lifeline does with the job of a node that seems to be dead.
        await execute(engine, f"UPDATE oban_jobs SET state = 'available' WHERE id = {job_id}")
        wake(oban, "default")
        await until(engine, job_id, lambda job: job.attempt == 2 and job.state == "executing")
        resumed.set()
        await eventually(lambda: bool(caught))
        go_on.set()
        assert await read(oban, job_id) == [(1, [1, 1]), (2, [2, 1]), (3, [2, 2])]


async def test_numbers_that_another_run_has_taken_are_counted_on_from(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Oban(engine, {"default": 2}) as oban:
        [job_id] = await insert(engine, tokens.new())
        await eventually(lambda: _count(engine, job_id))
        # What a run of which this node knows nothing has written at the same moment.
        await execute(engine, f"INSERT INTO oban_events (job_id, n, value) VALUES ({job_id}, 2, '\"other\"')")
        go_on.set()
        assert await read(oban, job_id) == [(1, {"token": "Hello"}), (2, "other"), (3, {"token": " world"})]


async def test_a_statement_that_was_committed_unheard_is_not_written_twice(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = 0

    async with Oban(engine, {"default": 2}) as oban:
        assert oban._node is not None
        lane = oban._node.connections.telling
        run = lane.run_unshielded

        async def loses(statement: Statement, /, **parameters: Any) -> Any:
            nonlocal lost
            rows = await run(statement, **parameters)
            if statement is record and lost < 2:
                lost += 1
                raise StatementFailed("record", OSError("lost after the commit"), None, unknown=True)
            return rows

        monkeypatch.setattr(lane, "run_unshielded", loses)
        [job_id] = await insert(engine, counts.new(300))
        assert await read(oban, job_id) == [(number, number) for number in range(1, 301)]
    assert lost == 2


async def test_three_readers_that_reconnect_get_each_event_once(engine: AsyncEngine) -> None:
    """Two attempts write; the readers leave after a random number of events, and come back."""
    total = 2_000

    @job(name="events.many", backoff=0)
    async def many() -> None:
        attempt = current_job().attempt
        for number in range(total // 2):
            await emit([attempt, number])
            if number % 97 == 0:
                await asyncio.sleep(0.002)
        if attempt == 1:
            raise ValueError("the first attempt fails")

    async def reconnecting(oban: Oban, job_id: int, seed: int) -> list[tuple[int, Any]]:
        chance, got = random.Random(seed), list[tuple[int, Any]]()
        while len(got) < total:
            left = chance.randint(1, 400)
            async with aclosing(cast(Any, oban.stream(job_id, after=got[-1][0] if got else 0))) as events:
                async for pair in cast(AsyncIterator[tuple[int, Any]], events):
                    got.append(pair)
                    left -= 1
                    if left == 0:
                        break
        return got

    async with Oban(engine, {"default": 2}) as runner, Oban(engine, node="other") as other:
        [job_id] = await insert(engine, many.new())
        readers = (reconnecting(oban, job_id, seed) for seed, oban in enumerate((runner, other, Oban(engine))))
        async with asyncio.timeout(60):
            found = await asyncio.gather(*readers)
    expected = list(enumerate([[attempt, number] for attempt in (1, 2) for number in range(total // 2)], 1))
    assert found == [expected] * 3


async def test_events_of_a_rolled_back_job_stay(engine: AsyncEngine) -> None:
    @job(name="events.rolled_back", max_attempts=1)
    async def rolled_back(session: AsyncSession) -> None:
        await enqueue(session, counts.new(1))
        await emit("told")
        raise ValueError("rolled back")

    async with Oban(engine, {"default": 2}) as oban:
        [job_id] = await insert(engine, rolled_back.new())
        await until(engine, job_id, "discarded")
        assert await read(oban, job_id) == [(1, "told")]
    assert (await load(engine, job_id)).errors


async def _count(engine: AsyncEngine, job_id: int) -> int:
    sql = f"SELECT count(*) FROM oban_events WHERE job_id = {job_id} AND kind = {EventKind.EVENT.value}"
    [(count,)] = await execute(engine, sql)
    return int(count)
