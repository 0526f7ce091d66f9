"""What a result is worth: its type, how it travels, and who may wait for it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from oban_sqla import (
    InvalidArgs,
    InvalidOption,
    Job,
    JobDiscarded,
    JobSpec,
    Oban,
    ObanError,
    Queue,
    Record,
    ResultTimeout,
    Snooze,
    Workflow,
    job,
    release_slot,
)
from oban_sqla.testing import drain
from tests.control import jobs
from tests.control.jobs import adds, boom, noop, waits
from tests.runtime.helpers import execute, finished, insert, until
from tests.support import eventually


@pytest.fixture(autouse=True)
def _fresh() -> None:
    jobs.reset()


@dataclass
class Report:
    at: datetime
    numbers: set[int]


@job(name="typed.makes_report", recorded=True)
async def makes_report() -> Report | Snooze:
    return Report(datetime(2026, 1, 2, tzinfo=UTC), {3, 1})


class OneWay(BaseModel):
    home_page: str = Field(serialization_alias="homePage")


@job(name="typed.one_way", recorded=True)
async def one_way() -> OneWay:
    return OneWay(home_page="/")


class Base(DeclarativeBase): ...


class Invoice(Base):
    __tablename__ = "invoices_of_results"
    id: Mapped[int] = mapped_column(primary_key=True)
    secret: Mapped[str]


@job(name="typed.makes_invoice", recorded=True)
async def makes_invoice(session: AsyncSession, flush: bool) -> list[Invoice]:
    session.add(made := Invoice(secret="xyzzy"))
    if flush:
        await session.flush()
    return [made]


@job(name="typed.records_by_itself")
async def records_by_itself() -> Record:
    return Record([1])


@job(name="typed.keeps_nothing")
async def keeps_nothing() -> int:
    return 1


@job(name="typed.large", recorded=True)
async def large(size: int) -> str:
    return "x" * size


@job(name="typed.child", recorded=True)
async def child(number: int) -> int:
    return number * 2


@job(name="typed.parent", recorded=True)
async def parent(oban: Oban, count: int) -> list[int]:
    specs = await oban.enqueue([child.new(number) for number in range(count)])
    first = await oban.result(specs[0], timeout=20)
    rest = [result.value async for _, result in oban.results(specs[1:], timeout=20)]
    return [first, *sorted(rest)]


@job(name="typed.awaits_flow", recorded=True)
async def awaits_flow(oban: Oban) -> int:
    flow = Workflow("awaited")
    flow.returns(flow.add(child.new(4), name="child"))
    async with AsyncSession(oban.engine) as session:
        session.add(flow)
        await session.commit()
    value: int = await oban.result(flow, timeout=30)
    return value


@job(name="typed.asks_too_early")
async def asks_too_early(session: AsyncSession, oban: Oban, flush: bool) -> None:
    spec = child.new(1)
    session.add(spec)
    if flush:
        await session.flush()
    await oban.result(spec, timeout=30)


@job(name="typed.lets_go")
async def lets_go() -> None:
    release_slot()
    await waits()


@job(name="typed.lets_go_in_a_thread")
def lets_go_in_a_thread() -> None:
    release_slot()
    jobs.events.append("started")
    jobs.gate.wait(20)


async def test_value_has_the_type_that_the_function_declares(any_engine: AsyncEngine) -> None:
    async with Oban(any_engine, {"default": 2}) as oban:
        report, plain = await oban.enqueue(makes_report.new(), records_by_itself.new())
        assert await oban.result(report) == Report(datetime(2026, 1, 2, tzinfo=UTC), {1, 3})
        raw = await oban.result(report.id or 0)
        assert raw == {"at": "2026-01-02T00:00:00Z", "numbers": raw["numbers"]}
        assert await oban.result(plain) == [1]
        await execute(any_engine, """UPDATE oban_jobs SET meta = '{"recorded": true, "return": 5}'""")
        with pytest.raises(InvalidArgs, match=r"makes_report: the recorded value is not what the function declares"):
            await oban.result(report)


async def test_a_model_that_does_not_read_what_it_writes_comes_back_as_json(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 2}) as oban:
        [spec] = await oban.enqueue(one_way.new())
        with pytest.raises(InvalidArgs, match=r"home_page: Field required; .* does not read what it writes"):
            await oban.result(spec)
        assert await oban.result(spec.id or 0) == {"homePage": "/"}


async def test_of_an_instance_only_the_key_is_kept_and_the_row_is_loaded_again(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    try:
        async with Oban(engine, {"default": 2}) as oban:
            [spec] = await oban.enqueue(makes_invoice.new(flush=True))
            [invoice] = await oban.result(spec)
            assert invoice.secret == "xyzzy"
            assert await oban.result(spec.id or 0) == [invoice.id]
            assert not await execute(engine, "SELECT 1 FROM oban_jobs j WHERE j::text LIKE '%xyzzy%'")
            await execute(engine, "DELETE FROM invoices_of_results")
            with pytest.raises(ObanError, match=f"there is no Invoice with the key {invoice.id} any more"):
                await oban.result(spec)
            [spec] = await oban.enqueue(makes_invoice.options(max_attempts=1).new(flush=False))
            [unflushed] = await oban.result(spec)
            assert unflushed.id == invoice.id + 1, "the commit has given it its key"
    finally:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.drop_all)


async def test_spec_whose_function_keeps_no_value_is_refused_and_so_is_a_jobs_own(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 2}) as oban:
        [spec] = await oban.enqueue(keeps_nothing.new())
        with pytest.raises(InvalidOption, match=r"keeps_nothing declares to return a value, .* @job\(recorded=True\)"):
            await oban.result(spec)
        with pytest.raises(InvalidOption, match="keeps_nothing declares"):
            oban.results([spec])
        assert await oban.result(spec.id or 0) is None
        for flush in (False, True):
            [asking] = await oban.enqueue(asks_too_early.options(max_attempts=1).new(flush))
            with pytest.raises(JobDiscarded, match=r"await oban.enqueue\(spec\)"):
                await oban.result(asking)


async def test_test_that_drains_is_told_too(engine: AsyncEngine) -> None:
    from oban_sqla.testing import resources

    async with AsyncSession(engine) as session:
        session.add(asks_too_early.new(flush=True))
        with resources({Oban: Oban(engine)}):
            drained = await drain(session, limit=1)
        assert "await oban.enqueue(spec)" in str(drained.errors[0])


@pytest.mark.parametrize("notify", ["auto", "off"])
async def test_results_of_another_node_come_whatever_their_size(any_engine: AsyncEngine, notify: Any) -> None:
    async with (
        Oban(any_engine, notify=notify, node="asks", poll_interval=0.1) as asking,
        Oban(any_engine, {"default": 2}, notify=notify, node="runs", poll_interval=0.1),
    ):
        small, big = await asking.enqueue(large.new(1_000), large.new(8_000_000))
        assert await asking.result(small, timeout=20) == "x" * 1_000
        assert len(await asking.result(big, timeout=60)) == 8_000_000


async def test_results_come_as_jobs_finish_and_failures_and_late_ones_too(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 5}) as oban:
        slow, fast, failing = await oban.enqueue(waits.new(), adds.new(1, b=2), boom.options(max_attempts=1).new())
        seen: dict[int | None, Any] = {}
        async for spec, result in oban.results([slow, fast, failing, fast], timeout=10):
            seen[spec.id] = result
            if len(seen) == 2:
                jobs.gate.set()
        assert list(seen)[-1] == slow.id, "it finished last"
        assert seen[fast.id].value == 3
        assert isinstance(seen[failing.id].error, JobDiscarded)
        with pytest.raises(JobDiscarded):
            _ = seen[failing.id].value
        [never] = await oban.enqueue(noop.options(schedule_in=60).new())
        [(_, late)] = [pair async for pair in oban.results([never], timeout=0.05)]
        assert isinstance(late.error, ResultTimeout)
        assert [pair async for pair in oban.results(list[JobSpec[int]]())] == []


async def test_thousand_waits_share_their_statements(engine: AsyncEngine, database_url: str) -> None:
    async with Oban(engine, {"default": 20}) as oban:
        specs = await oban.enqueue([adds.options(schedule_in=60).new(n) for n in range(1_000)])
        assert oban._node is not None
        lane = oban._node.connections.upkeep
        sent: list[str] = []
        original = lane.run_unshielded

        async def counted(statement: Any, /, **parameters: Any) -> Any:
            if statement.name in ("outcomes", "notify_at_once"):
                sent.append(statement.name)
            return await original(statement, **parameters)

        lane.run_unshielded = counted  # type: ignore[method-assign]
        began = time.monotonic()
        waiting = [asyncio.create_task(oban.result(spec, timeout=60)) for spec in specs]
        await eventually(lambda: sent.count("outcomes") >= 4)
        assert len(sent) <= 4 + (time.monotonic() - began), "a few at the start, then one per second"
        await oban.retry([spec.id or 0 for spec in specs])
        assert await asyncio.gather(*waiting) == [n + 1 for n in range(1_000)]
        lane.run_unshielded = original  # type: ignore[method-assign]


async def test_waits_go_on_when_their_node_stops(engine: AsyncEngine) -> None:
    asking = Oban(engine, node="asks")
    await asking.start()
    [spec] = await asking.enqueue(adds.new(1))
    waiting = asyncio.create_task(asking.result(spec, timeout=30))
    assert asking._node is not None
    waiter = asking._node.waiter
    await eventually(lambda: bool(waiter._waits))
    await asking.stop()
    async with Oban(engine, {"default": 1}, node="runs"):
        assert await waiting == 2


@pytest.mark.parametrize("queue", [Queue(limit=1), Queue(limit=1, global_limit=3)], ids=["plain", "limited"])
async def test_job_that_awaits_its_children_on_a_queue_of_limit_one_completes(
    any_engine: AsyncEngine, queue: Queue
) -> None:
    async with Oban(any_engine, {"default": queue}) as oban:
        assert await oban.result((await oban.enqueue(parent.new(4)))[0], timeout=30) == [0, 2, 4, 6]
        assert oban._node is not None
        producer = oban._node.producers["default"]
        await eventually(lambda: not producer.running)
        assert not producer.slots.out


async def test_job_that_awaits_a_workflow_on_a_queue_of_limit_one_completes(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 1}) as oban:
        assert await oban.result((await oban.enqueue(awaits_flow.new()))[0], timeout=30) == 8


async def test_job_that_goes_on_after_its_wait_has_a_slot_again(engine: AsyncEngine) -> None:
    counted: list[int] = []
    gate = asyncio.Event()

    @job(name="typed.counts", recorded=True)
    async def counts(oban: Oban, child_id: int) -> None:
        await oban.result(child_id, timeout=30)
        assert oban._node is not None
        [producer] = oban._node.producers.values()
        counted.append(producer.slots.occupied)

    @job(name="typed.gated")
    async def gated() -> None:
        await gate.wait()

    async with Oban(engine, {"default": 1}):
        [child_id] = await insert(engine, child.options(schedule_in=60).new(1))
        [counting] = await insert(engine, counts.new(child_id))
        [blocking] = await insert(engine, gated.new())
        await until(engine, blocking, "executing")  # in the slot of the one that waits
        await execute(engine, f"UPDATE oban_jobs SET state = 'completed' WHERE id = {child_id}")
        await asyncio.sleep(0)
        assert counted == []
        gate.set()
        await finished(engine, [counting, blocking])
        assert counted == [1]


@pytest.mark.parametrize("holder", [lets_go, lets_go_in_a_thread])
async def test_job_that_has_released_its_slot_lets_another_one_run(engine: AsyncEngine, holder: Any) -> None:
    async with Oban(engine, {"default": 1}) as oban:
        [holding] = await insert(engine, holder.new())
        await eventually(lambda: "started" in jobs.events)
        assert await oban.result((await oban.enqueue(adds.new(1)))[0]) == 2
        assert (await until(engine, holding, lambda job: job.state == "executing")).id == holding
        jobs.gate.set()
        await until(engine, holding, "completed")
        assert oban._node is not None
        assert not oban._node.producers["default"].slots.out


async def test_caller_without_a_started_node_and_a_thread_may_wait(engine: AsyncEngine) -> None:
    @job(name="typed.asks_in_a_thread", recorded=True)
    def asks_in_a_thread(oban: Oban, current: Job) -> list[int]:
        async def ask() -> list[int]:
            specs = await oban.enqueue([child.new(1), child.new(2)])
            return sorted([result.value async for _, result in oban.results(specs, timeout=20)])

        return asyncio.run(ask())

    async with Oban(engine, {"default": 1}):
        [spec] = await Oban(engine).enqueue(asks_in_a_thread.new())
        assert await Oban(engine).result(spec, timeout=20) == [2, 4]


async def test_wait_outlasts_a_lost_connection(engine: AsyncEngine) -> None:
    async with Oban(engine, node="asks") as asking:
        [spec] = await asking.enqueue(adds.new(1))
        waiting = asyncio.create_task(asking.result(spec, timeout=60))
        assert asking._node is not None
        waiter = asking._node.waiter
        await eventually(lambda: bool(waiter._waits))
        lanes = (asking._node.connections.upkeep, asking._node.connections.listening)
        for pid in [lane.driver.get_server_pid() for lane in lanes]:
            await execute(engine, f"SELECT pg_terminate_backend({pid})")
        async with Oban(engine, {"default": 1}, node="runs"):
            assert await waiting == 2
