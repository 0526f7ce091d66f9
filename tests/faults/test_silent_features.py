"""What the younger parts do while the database does not answer: they go on when it is back, and wait no longer than
they say."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from oban_sqla import DatabaseUnavailable, Oban, ObanError, Queue, ResultTimeout, Snooze, Workflow, emit, job
from oban_sqla.durable import step, sync
from oban_sqla.runtime.lanes.failure import connecting_failed
from oban_sqla.runtime.lanes.lane import Lane
from oban_sqla.runtime.lanes.line import Line
from oban_sqla.runtime.lanes.several import Several
from oban_sqla.runtime.loop import Loop
from oban_sqla.statements.ping import ping
from oban_sqla.statements.statement import statement
from tests.cron.clock import Standing, grant, minute
from tests.cron.test_ticks import enqueued, put
from tests.faults.jobs import gate, gates, note, ran, runs
from tests.faults.proxy import Proxy
from tests.runtime.helpers import execute, finished, insert
from tests.support import eventually
from tests.web.conftest import opened

FULL = ("53300", "sorry, too many clients already")


@job(name="silent.say", recorded=True)
async def say() -> str:
    await emit(1)
    await gate("say").wait()
    await emit(2)
    return "x" * 100_000


@job(name="silent.refused")
async def refused() -> Snooze:
    await gate("refused").wait()
    return Snooze(30, suspend="queue")


@job(name="silent.commits", backoff=0.05)
async def commits(session: AsyncSession) -> None:
    await session.execute(text("SELECT 1"))


@job(name="silent.snoozes", backoff=0.05)
async def snoozes(session: AsyncSession) -> Snooze:
    await session.execute(text("SELECT 1"))
    return Snooze(60)


@job(name="silent.plans", backoff=0.05)
async def plans() -> Workflow:
    flow = Workflow("planned")
    flow.add(note.new())
    return flow


async def _one(session: AsyncSession) -> int:
    await session.execute(text("SELECT 1"))
    return 1


@job(name="silent.steps", backoff=0.05)
async def steps() -> None:
    await step("one", _one)


def _one_here(session: Session) -> int:
    session.execute(text("SELECT 1"))
    return 1


@job(name="silent.steps_here", queue="silent_here", backoff=0.05)
def steps_here() -> None:
    sync.step("one", _one_here)


@job(name="silent.commits_here", queue="silent_here", backoff=0.05)
def commits_here(session: Session) -> None:
    session.execute(text("SELECT 1"))


@job(name="silent.three", recorded=True)
async def three() -> list[float]:
    return [0.0, 0.0, 0.0]


@statement
def hold() -> Any:
    return text("SELECT pg_sleep(0.05)")


async def test_callers_that_enqueue_while_nothing_connects_share_one_refusal(
    proxied: AsyncEngine, between: Proxy
) -> None:
    """Each with its own attempt they would wait for the time-out of each before them."""
    async with Oban(proxied, {}) as oban:
        await oban.enqueue(note.new())
        between.refuses_with = FULL
        between.cut()
        with pytest.raises(ObanError):
            await oban.enqueue(note.new())
        with pytest.raises(DatabaseUnavailable, match="can't be reached, the signal was not sent"):
            await oban.signal(1, "go")
        tries = between.refused
        outcomes = await asyncio.gather(*(oban.enqueue(note.new()) for _ in range(50)), return_exceptions=True)
        assert all("none of the jobs was written" in str(outcome) for outcome in outcomes)
        assert all(isinstance(outcome, DatabaseUnavailable) for outcome in outcomes)
        assert between.refused - tries < 25
        between.refuses_with = None
        [spec] = await oban.enqueue(note.new())
        assert spec.id is not None


async def test_a_connection_for_steps_that_a_full_server_refuses_takes_none_from_the_others(
    proxied: AsyncEngine, between: Proxy
) -> None:
    line = Line(proxied, pooled=False)
    lanes = [Lane(line, f"steps {number}") for number in (1, 2)]
    several = Several(lanes)
    await asyncio.gather(*(several.run(hold) for _ in range(5)))
    await eventually(lambda: lanes[1].driver is not None)
    between.refuses_with = FULL
    await lanes[1].close()
    # The first one is busy all the time, so that the other one would be the least busy.
    rows = await asyncio.gather(*(several.run(one) for one in (hold, ping, hold, ping, hold)))
    assert len(rows) == 5
    tries = between.refused
    await asyncio.gather(*(several.run(ping) for _ in range(50)))
    assert between.refused - tries <= 1, "it is not tried again at once"
    for lane in lanes:
        await lane.close()
    await line.close()


async def test_a_queue_is_suspended_after_an_outage_as_its_job_has_asked(
    engine: AsyncEngine, proxied: AsyncEngine, between: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oban_sqla.runtime.suspensions.FIRST_WAIT", 0.01)
    monkeypatch.setattr("oban_sqla.runtime.suspensions.LONGEST_WAIT", 0.02)
    async with Oban(proxied, {"default": Queue(1, global_limit=1)}):
        [_, waiting] = await insert(engine, refused.new(), note.new())
        await eventually(lambda: "refused" in gates)
        between.refuses = True
        between.cut()
        gate("refused").set()
        await asyncio.sleep(0.15)
        between.refuses = False
        await eventually(lambda: execute(engine, "SELECT 1 FROM oban_jobs WHERE state = 'scheduled'"))
        [[rest]] = await execute(engine, "SELECT until - extract(epoch FROM now()) FROM oban_rates WHERE until > 0")
        assert 20 < rest <= 30
        assert runs(waiting) == 0


@pytest.mark.parametrize("started", [True, False])
async def test_a_result_and_a_stream_go_on_after_an_outage(
    engine: AsyncEngine, proxied: AsyncEngine, between: Proxy, started: bool
) -> None:
    reading = Oban(proxied, {})
    if started:
        await reading.start()
    got: list[int] = []

    async def read(spec: Any) -> None:
        async for _, value in reading.stream(spec):
            got.append(value)

    async with Oban(engine, {"default": 5}) as oban:
        [spec] = await oban.enqueue(say.new())
        result = asyncio.create_task(reading.result(spec, timeout=10))
        events = asyncio.create_task(read(spec))
        await eventually(lambda: got)
        between.refuses = True
        between.cut()
        await asyncio.sleep(0.1)
        gate("say").set()
        between.refuses = False
        assert len(await result) == 100_000
        await events
        assert got == [1, 2]
    await reading.stop()


async def test_a_stream_says_after_which_event_it_has_ended(
    engine: AsyncEngine, proxied: AsyncEngine, between: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oban_sqla.control.reading.PATIENCE", 0.3)
    async with Oban(engine, {"default": 5}) as oban:
        [spec] = await oban.enqueue(say.new())
        events = Oban(proxied).stream(spec)
        assert await anext(events) == (1, 1)
        between.refuses_with = FULL
        between.cut()
        with pytest.raises(DatabaseUnavailable, match="after event 1: the database does not answer"):
            await anext(events)
        gate("say").set()


async def test_a_result_is_waited_for_no_longer_than_was_said_from_a_server_that_says_nothing(
    engine: AsyncEngine, proxied: AsyncEngine, between: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oban_sqla.control.reading.SHORTEST", 0.2)
    [job_id] = await insert(engine, note.new())
    between.swallow("oban_jobs")
    with pytest.raises(ResultTimeout, match="had not finished within 0.1 s: .*the database does not answer"):
        async with asyncio.timeout(5):
            await Oban(proxied).result(job_id, timeout=0.1)


async def test_the_dashboard_answers_after_three_connections_have_gone_silent(
    proxied: AsyncEngine, between: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oban_sqla.web.instance.LONGEST_READ", 0.3)
    monkeypatch.setattr("oban_sqla.web.instance.LONGEST_CHANGE", 0.3)
    async with opened(proxied) as browser:
        change = between.swallow("INTO oban_jobs")
        between.swallow("oban_jobs", 3)

        async def shown() -> bool:
            response = await browser.get("/jobs?queue=silent")
            return response.status_code == 200 and "The database" not in response.text

        async with asyncio.timeout(8):
            await browser.send("/do/enqueue", {"worker": "faults.note"})
            await eventually(shown)
        assert change.sprung.is_set()


async def test_a_tick_is_taken_after_a_connection_of_the_scheduler_has_gone_silent(
    engine: AsyncEngine, proxied: AsyncEngine, between: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oban_sqla.runtime.duties.scheduler.STATEMENT_TIMEOUT", 0.3)
    await grant(engine)
    now = await put(engine)
    scheduler = Standing(proxied)
    trap = between.swallow("UPDATE oban_crons")
    with pytest.raises(TimeoutError, match="no answer within 0.3 s"):
        async with asyncio.timeout(8):
            await scheduler.at(minute(now, 1))
    assert trap.sprung.is_set()
    await scheduler.at(minute(now, 1))
    assert len(await enqueued(engine)) == 1, "once, although the first try was cut"
    await scheduler.close()


@pytest.mark.parametrize(
    ("worker", "words"), [(commits, "COMMIT"), (snoozes, "COMMIT"), (plans, "INTO oban_workflows"), (steps, "COMMIT")]
)
async def test_the_run_of_a_job_ends_although_its_commit_is_never_answered(
    engine: AsyncEngine,
    proxied: AsyncEngine,
    between: Proxy,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    worker: Any,
    words: str,
) -> None:
    monkeypatch.setattr("oban_sqla.runtime.session_time.LONGEST_END", 0.2)
    async with Oban(proxied, {"default": 5}, sessionmaker=async_sessionmaker(proxied), poll_interval=0.1) as oban:
        trap = between.swallow(words)
        [job_id] = await insert(engine, worker.new())
        await trap.sprung.wait()
        if worker is not snoozes:
            [done] = await finished(engine, [job_id])
            assert done.state == "completed"
        assert oban._node is not None
        node, producer = oban._node, oban._node.producers["default"]
        await eventually(lambda: not producer.running and len(node.acks) == 0)
        assert [number for (number,) in await execute(engine, "SELECT count(*) FROM oban_workflows")] == [
            1 if worker is plans else 0
        ]
    said = [record.getMessage() for record in caplog.records if record.name == "oban_sqla.job"]
    if worker in (commits, snoozes):
        how = "is completed" if worker is commits else "has snoozed"
        expected = f"its commit had succeeded, and only the answer was lost; it {how}, and has not failed"
        assert sum(expected in line for line in said) == 1
    assert not any("another run" in line for line in said)


@pytest.mark.parametrize("worker", [commits_here, steps_here])
async def test_the_run_of_a_plain_function_ends_although_its_commit_is_never_answered(
    engine: AsyncEngine, between: Proxy, monkeypatch: pytest.MonkeyPatch, worker: Any
) -> None:
    monkeypatch.setattr("oban_sqla.runtime.session_time.LONGEST_END", 0.2)
    plain = create_engine(make_url(between.url).set(drivername="postgresql+psycopg"))
    async with Oban(engine, {"silent_here": 5}, sessionmaker=sessionmaker(plain), poll_interval=0.1) as oban:
        trap = between.swallow("COMMIT")
        [job_id] = await insert(engine, worker.new())
        await trap.sprung.wait()
        [done] = await finished(engine, [job_id])
        assert done.state == "completed"
        assert oban._node is not None
        producer = oban._node.producers["silent_here"]
        await eventually(lambda: not producer.running)
    plain.dispose()


async def test_a_map_whose_transaction_was_cut_is_made_soon_after(
    engine: AsyncEngine, proxied: AsyncEngine, between: Proxy
) -> None:
    flow = Workflow("mapped")
    flow.map(lambda seconds: note.new(seconds), over=flow.add(three.new()).result)
    trap = between.lose_answer("INTO oban_workflows")
    async with Oban(proxied, {"default": 5}, poll_interval=0.1) as oban:
        async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
            session.add(flow)
        await oban.result(flow, timeout=10)
    assert trap.sprung.is_set()
    assert ran.total() == 3


@pytest.mark.parametrize("in_parts", [False, True], ids=["a step as a whole", "a step that succeeds in parts"])
async def test_an_outage_is_told_in_few_lines_and_its_end_too(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, in_parts: bool
) -> None:
    monkeypatch.setattr("oban_sqla.runtime.loop.FIRST_RETRY", 0.0001)
    caplog.set_level(logging.INFO, "oban_sqla")
    ended = asyncio.Event()

    class Failing(Loop):
        name = "failing"
        longest_retry = 0.001
        steps = 0

        async def step(self) -> float | None:
            self.steps += 1
            if self.steps <= 20:
                raise connecting_failed("upkeep", ConnectionRefusedError("no server"))
            if self.steps == 21:
                raise connecting_failed("upkeep", ConnectionResetError("another failure"))
            if in_parts:
                self._progress()
            ended.set()
            return None

    loop = Failing()
    loop.start()
    await ended.wait()
    await loop.stop()
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 7
    assert sum("no server" in line for line in lines) == 5
    assert "another failure" in lines[5]
    assert lines[6] == "failing: goes on after 21 failures"
