"""Signals: kept, taken once, and no wake-up is lost."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from oban_sqla import DatabaseUnavailable, InvalidArgs, InvalidOption, Oban, SignalTimeout, Workflow
from oban_sqla.durable import step, wait_for
from oban_sqla.runtime.chunk_attempt import attempt_of
from oban_sqla.runtime.durable import ledger
from oban_sqla.runtime.lanes.failure import StatementFailed
from oban_sqla.statements.statement import Statement
from tests.durable import jobs
from tests.durable.test_steps import failure_of
from tests.runtime.helpers import execute, finished, insert, load, until
from tests.support import eventually


async def asleep(engine: AsyncEngine, job_id: int) -> None:
    """Wait until the job sleeps."""
    await until(engine, job_id, "scheduled")


async def test_a_signal_that_was_sent_before_the_wait_is_there_at_once(oban: Oban, engine: AsyncEngine) -> None:
    await oban.pause_queue("durable")
    [job_id] = await insert(engine, jobs.approval.new())
    assert await oban.signal(job_id, "approved", {"by": "ann"})
    await oban.resume_queue("durable")
    [done] = await finished(engine, [job_id])
    assert done.meta["return"] == [{"by": "ann"}]
    assert jobs.calls == {"begun": 1}


async def test_a_job_that_sleeps_until_a_signal_wakes_when_it_is_sent(oban: Oban, engine: AsyncEngine) -> None:
    [job_id] = await insert(engine, jobs.approval.new(live=0))
    await asleep(engine, job_id)
    assert (await load(engine, job_id)).scheduled_at.year > 2100
    assert await oban.signal(job_id, "approved", 1)
    [done] = await finished(engine, [job_id], timeout=20)
    assert done.meta["return"] == [1]
    assert done.attempt == 1
    assert jobs.calls == {"begun": 2}
    assert await execute(engine, "SELECT name, kind FROM oban_steps") == [("wait:approved:1", "signal")]
    assert await execute(engine, "SELECT count(*) FROM oban_news") == [(0,)]


async def test_a_job_that_waits_with_its_slot_gets_the_signal_in_the_same_run(oban: Oban, engine: AsyncEngine) -> None:
    [job_id] = await insert(engine, jobs.approval.new())
    await eventually(lambda: jobs.calls["begun"])
    await eventually(lambda: oban._node and oban._node.steps._ears)
    await oban.signal(job_id, "approved", "now")
    [done] = await finished(engine, [job_id])
    assert done.meta["return"] == ["now"]
    assert jobs.calls == {"begun": 1}


async def test_a_job_goes_to_sleep_before_its_timeout_while_it_waits(
    oban: Oban, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "BEFORE_TIMEOUT", 59.9)  # it goes to sleep a moment after its start
    [job_id] = await insert(engine, jobs.impatient.new())
    await asleep(engine, job_id)
    await oban.signal(job_id, "approved", 1)
    [done] = await finished(engine, [job_id])
    assert (done.meta["return"], done.attempt) == (1, 1)


async def test_a_wait_at_the_beginning_of_a_run_costs_one_statement(
    oban: Oban, engine: AsyncEngine, sent: list[str]
) -> None:
    [job_id] = await insert(engine, jobs.approval.new(live=0, times=2))
    for number in range(2):
        await eventually(partial(_have_looked, sent, 1 + 2 * number))
        await asleep(engine, job_id)
        await oban.signal(job_id, "approved", number)
    [done] = await finished(engine, [job_id])
    assert done.meta["return"] == [0, 1]
    one, more = "steps_and_signal", "await_signal"
    assert sent == [one, one, more, one, more]  # the second wait of a run is another one


def _have_looked(sent: list[str], times: int) -> bool:
    return len(sent) == times


async def test_a_signal_of_a_node_is_one_statement_of_which_other_nodes_hear(oban: Oban, engine: AsyncEngine) -> None:
    [job_id] = await insert(engine, jobs.approval.new())
    await eventually(lambda: oban._node and oban._node.steps._ears)
    seen: list[str] = []
    async with Oban(engine, node="sender") as sender:
        event.listen(engine.sync_engine, "before_cursor_execute", lambda *given: seen.append(given[2]))
        assert await sender.signal(job_id, "approved", "now")
    [done] = await finished(engine, [job_id])
    assert (done.meta["return"], jobs.calls) == (["now"], {"begun": 1})
    assert not [one for one in seen if "oban_signals" in one]  # nothing went by the engine's own pool


async def test_a_signal_whose_sender_is_cancelled_is_sent_all_the_same(oban: Oban, engine: AsyncEngine) -> None:
    [job_id] = await insert(engine, jobs.approval.new(live=0))
    await asleep(engine, job_id)
    sending = asyncio.create_task(oban.signal(job_id, "approved", 1))
    await asyncio.sleep(0)
    sending.cancel()
    [done] = await finished(engine, [job_id])
    assert done.meta["return"] == [1]
    assert sending.cancelled()


async def test_a_signal_whose_answer_was_lost_is_acted_on(
    oban: Oban, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert oban._node is not None
    [job_id] = await insert(engine, jobs.approval.new(live=0))
    await asleep(engine, job_id)
    lane = oban._node.connections.inserting
    original = lane.run_unshielded

    async def lost(statement: Statement, /, **parameters: Any) -> Any:
        await original(statement, **parameters)
        raise StatementFailed(statement.name, ConnectionResetError(), None, unknown=True)

    monkeypatch.setattr(lane, "run_unshielded", lost)
    with pytest.raises(DatabaseUnavailable, match="whether the signal was sent is not known"):
        await oban.signal(job_id, "approved", 1)
    [done] = await finished(engine, [job_id])
    assert done.meta["return"] == [1]


async def test_a_signal_in_a_session_is_sent_by_its_commit(oban: Oban, engine: AsyncEngine) -> None:
    [job_id] = await insert(engine, jobs.approval.new(live=0))
    await asleep(engine, job_id)
    async with AsyncSession(engine) as session:
        await oban.signal(job_id, "approved", "lost", session)
        await session.rollback()
        await oban.signal(job_id, "approved", "kept", session)
        await session.commit()
    [done] = await finished(engine, [job_id])
    assert done.meta["return"] == ["kept"]


async def test_a_signal_in_a_session_of_a_plain_program_is_sent_by_its_commit(
    oban: Oban, engine: AsyncEngine, sync_engine: Engine
) -> None:
    [job_id] = await insert(engine, jobs.approval.new(live=0))
    await asleep(engine, job_id)

    def send() -> None:
        with Session(sync_engine) as session, session.begin():
            assert asyncio.run(Oban(engine).signal(job_id, "approved", "plain", session))

    await asyncio.to_thread(send)
    [done] = await finished(engine, [job_id])
    assert done.meta["return"] == ["plain"]


async def test_each_signal_is_taken_by_one_wait_in_the_order_in_which_they_were_sent(
    oban: Oban, engine: AsyncEngine
) -> None:
    [job_id] = await insert(engine, jobs.approval.new(live=0, times=3))
    for number in range(3):
        await asleep(engine, job_id)
        await oban.signal(job_id, "other", "not this one")
        await oban.signal(job_id, "approved", number)
    [done] = await finished(engine, [job_id])
    assert done.meta["return"] == [0, 1, 2]


async def test_the_deadline_counts_from_the_first_run_and_a_later_run_gets_it_again(
    oban: Oban, engine: AsyncEngine
) -> None:
    async def body() -> str:
        try:
            await wait_for("approved", timeout=0.3, live=0)
        except SignalTimeout as late:
            if await step("first", jobs.value, True) and jobs.calls["failed"] == 0:
                jobs.calls["failed"] += 1
                raise RuntimeError("after the deadline") from late
            return str(late)
        return "approved"

    jobs.bodies["body"] = body
    [job_id] = await insert(engine, jobs.anything.new(name="body"))
    await until(engine, job_id, lambda _: jobs.calls["failed"])
    [done] = await finished(engine, [job_id])
    assert f"job {job_id}: no signal 'approved' came before the deadline of 0.3 s" in done.meta["return"]
    assert done.attempt == 2


async def test_two_runs_of_one_job_take_the_same_signal(oban: Oban, engine: AsyncEngine) -> None:
    """A node that was taken for dead wakes up, and its run goes on beside the next one."""
    assert oban._node is not None
    both = asyncio.Barrier(2)
    got: list[Any] = []

    async def body() -> None:
        await both.wait()
        got.append([await wait_for("go") for _ in range(5)])

    jobs.bodies["body"] = body
    [job_id] = await insert(engine, jobs.anything.new(name="body"))
    running = oban._node.producers["durable"].running
    first = await eventually(lambda: running.get(job_id))
    for number in range(7):
        await oban.signal(job_id, "go", number)
    await attempt_of(oban._node.host, first.row).run()
    await until(engine, job_id, "completed")
    assert got == [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4]]
    taken = await execute(engine, "SELECT taken FROM oban_signals ORDER BY id")
    assert [number for (number,) in taken] == [1, 2, 3, 4, 5, None, None]


async def test_a_job_that_has_finished_or_is_not_there_gets_no_signal(oban: Oban, engine: AsyncEngine) -> None:
    [job_id] = await insert(engine, jobs.nap.new(0))
    await finished(engine, [job_id])
    assert await oban.signal(job_id, "approved", 1) is False
    assert await oban.signal(999_999_999, "approved", 1) is False
    assert await execute(engine, "SELECT count(*) FROM oban_signals") == [(0,)]


async def test_what_a_signal_can_not_be_is_said(oban: Oban, engine: AsyncEngine) -> None:
    with pytest.raises(InvalidOption, match="signal: expected the id of a job"):
        await oban.signal("7", "approved")  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="signal: expected a name"):
        await oban.signal(7, "")
    with pytest.raises(InvalidArgs, match="the payload: object, which JSON can't carry"):
        await oban.signal(7, "approved", object())
    assert "wait_for: expected a name" in await failure_of(engine, lambda: wait_for(""))


async def test_no_wake_up_is_lost_between_none_yet_and_asleep(oban: Oban, engine: AsyncEngine) -> None:
    """Signals are sent while jobs go to sleep: before, during and after. None may be late by more than a second."""
    assert oban._node is not None
    ids = await insert(engine, *(jobs.approval.new(live=0) for _ in range(300)))

    async def send(job_id: int, wait: float) -> None:
        await asyncio.sleep(wait)
        assert await oban.signal(job_id, "approved", job_id)

    gate = asyncio.Semaphore(5)

    async def sent(number: int, job_id: int) -> None:
        async with gate:
            await send(job_id, (number % 7) * 0.002)

    await asyncio.gather(*(sent(number, job_id) for number, job_id in enumerate(ids)))
    done = await finished(engine, ids, timeout=30)
    assert [job.meta["return"] for job in done] == [[job_id] for job_id in ids]
    assert await execute(engine, "SELECT count(*) FROM oban_signals WHERE taken IS DISTINCT FROM 1") == [(0,)]


async def test_a_wake_up_waits_for_a_lock_of_the_jobs_row_and_is_not_lost(oban: Oban, engine: AsyncEngine) -> None:
    [job_id] = await insert(engine, jobs.approval.new(live=0))
    await asleep(engine, job_id)
    async with engine.begin() as connection:
        await connection.exec_driver_sql(f"SELECT FROM oban_jobs WHERE id = {job_id} FOR UPDATE")
        async with asyncio.timeout(5):
            assert await oban.signal(job_id, "approved", 1)  # it waits for nothing
        await eventually(lambda: _held(engine))
    [done] = await finished(engine, [job_id])
    assert done.meta["return"] == [1]


async def _held(engine: AsyncEngine) -> bool:
    return await execute(engine, "SELECT state FROM oban_news") == [("held",)]


@pytest.mark.parametrize("payload", [[1], None])
async def test_a_signal_that_another_program_writes_wakes_the_job(
    oban: Oban, engine: AsyncEngine, payload: list[int] | None
) -> None:
    [job_id] = await insert(engine, jobs.approval.new(live=0))
    await asleep(engine, job_id)
    written = "NULL" if payload is None else "'[1]'"
    await execute(engine, f"INSERT INTO oban_signals (job_id, name, payload) VALUES ({job_id}, 'approved', {written})")
    [done] = await finished(engine, [job_id])
    assert done.meta["return"] == [payload]


async def test_a_node_of_a_workflow_gets_a_signal(oban: Oban, engine: AsyncEngine) -> None:
    flow = Workflow("purchase")
    node = flow.add(jobs.approval.new(live=0), name="approval")
    async with AsyncSession(engine, expire_on_commit=False) as session:
        session.add(flow)
        await session.commit()
    assert node.id is not None
    await asleep(engine, node.id)
    assert await oban.signal(node, "approved", "yes")
    [done] = await finished(engine, [node.id])
    assert done.meta["return"] == ["yes"]
