"""Waiting for what a job returns."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from oban_sqla import (
    InvalidOption,
    JobCancelled,
    JobDiscarded,
    JobFailed,
    Oban,
    ObanError,
    ResultTimeout,
    Workflow,
    enqueue,
    job,
)
from oban_sqla.runtime.waiter import Seen, Wait
from tests.control import jobs
from tests.control.jobs import adds, boom, noop, waits
from tests.runtime.helpers import execute, load
from tests.support import eventually

attempts: list[int] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    jobs.reset()
    attempts.clear()


@job(name="results.second_time", backoff=0.05, recorded=True)
async def second_time() -> str:
    attempts.append(1)
    if len(attempts) == 1:
        raise ValueError("the first time it fails")
    return "done"


@job(name="results.fails_then_waits", backoff=0)
async def fails_then_waits() -> None:
    attempts.append(1)
    if len(attempts) == 1:
        raise ValueError("the first time it fails")
    await asyncio.sleep(30)


async def test_the_recorded_value_comes_back(any_engine: AsyncEngine) -> None:
    async with Oban(any_engine, {"default": 2}) as oban:
        [spec] = await oban.enqueue(adds.new(2, b=3))
        assert await oban.result(spec) == 5
        assert spec.id is not None
        assert await oban.result(spec.id) == 5
        assert await oban.result(await load(any_engine, spec.id)) == 5
        [plain] = await oban.enqueue(noop.new())
        assert await oban.result(plain) is None, "it recorded nothing"


async def test_another_program_that_waits_for_what_can_have_no_id_keeps_no_result_back(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 2}) as oban:
        assert oban._node is not None
        waiter = oban._node.waiter
        payload = json.dumps({"ids": [-(10**25), -5]})
        await execute(engine, "SELECT pg_notify('public.oban_await', :payload)", payload=payload)
        await eventually(lambda: -5 in waiter._asked)
        waiter.acted()  # so that it looks which of these workflows have finished
        [spec] = await oban.enqueue(adds.new(2, b=3))
        assert await oban.result(spec) == 5


async def test_without_time_to_wait_it_looks_once(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 2}) as oban:
        [spec] = await oban.enqueue(adds.new(2, b=3))
        await oban.result(spec)
        assert await oban.result(spec, timeout=0) == 5
        [later] = await oban.enqueue(adds.options(schedule_in=60).new(1))
        with pytest.raises(ResultTimeout, match="it is scheduled"):
            await oban.result(later, timeout=0)
        flow = Workflow("results")
        flow.returns(flow.add(adds.options(schedule_in=60).new(1)))
        async with AsyncSession(engine) as session, session.begin():
            session.add(flow)
        short: Any = timedelta(0)
        with pytest.raises(ResultTimeout, match="had not finished within 0 s"):
            await oban.result(flow, timeout=short)


async def test_anything_but_a_list_of_jobs_is_refused(engine: AsyncEngine) -> None:
    oban = Oban(engine)
    wrong: Any
    for wrong in (adds.new(1), None, 7, "ab"):
        with pytest.raises(InvalidOption, match=r"expected a list of specs or ids, got .*; for one there is"):
            oban.results(wrong)


async def test_it_works_from_a_process_that_runs_nothing(engine: AsyncEngine) -> None:
    caller = Oban(engine)
    async with Oban(engine, {"default": 2}):
        [spec] = await caller.enqueue(adds.new(2))
        assert await caller.result(spec) == 3


async def test_a_job_that_is_not_finished_in_time_goes_on(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 2}) as oban:
        [spec] = await oban.enqueue(waits.new())
        await eventually(lambda: jobs.events == ["started"])
        began = time.monotonic()
        with pytest.raises(ResultTimeout, match=r"not finished within 0.2 s: it is executing") as raised:
            await oban.result(spec, timeout=0.2)
        assert 0.2 <= time.monotonic() - began < 8, "the job itself would never end"
        assert isinstance(raised.value, TimeoutError)
        waiting = asyncio.create_task(oban.result(spec))
        jobs.gate.set()
        assert await waiting is None


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Seen]:
    """What the waits of this process have seen."""
    found: list[Seen] = []
    see = Wait.see

    def kept(self: Wait, seen: Seen) -> None:
        see(self, seen)
        found.append(seen)

    monkeypatch.setattr(Wait, "see", kept)
    return found


@pytest.mark.parametrize("started", [True, False])
async def test_a_job_that_is_deleted_during_the_wait_is_told(
    engine: AsyncEngine, started: bool, seen: list[Seen]
) -> None:
    async with Oban(engine) as node:
        oban = node if started else Oban(engine)
        [spec] = await oban.enqueue(noop.options(schedule_in=3600).new())
        waiting = asyncio.create_task(oban.result(spec, timeout=20))
        await eventually(lambda: seen)
        await oban.delete(spec)
        with pytest.raises(JobCancelled, match=f"job {spec.id} was deleted"):
            await waiting


async def test_a_cancelled_job_is_told(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 2}) as oban:
        [spec] = await oban.enqueue(waits.new())
        await eventually(lambda: jobs.events == ["started"])
        await oban.cancel(spec)
        with pytest.raises(JobCancelled, match="cancelled by request") as raised:
            await oban.result(spec)
        assert raised.value.job_id == spec.id


async def test_a_failure_is_told_at_once_unless_retries_are_waited_for(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 2}, poll_interval=0.05) as oban:
        [spec] = await oban.enqueue(boom.new())
        with pytest.raises(JobFailed, match="will be retried: ValueError: boom") as raised:
            await oban.result(spec)
        assert not isinstance(raised.value, JobDiscarded)
        assert "boom" in raised.value.error
        [spec] = await oban.enqueue(second_time.new())
        assert await oban.result(spec, with_retries=True) == "done"


async def test_a_failure_that_was_retried_between_two_looks_is_told_as_well(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch, seen: list[Seen]
) -> None:
    monkeypatch.setattr("oban_sqla.control.results.FIRST_WAIT", 1.0)
    [spec] = await Oban(engine).enqueue(fails_then_waits.new())
    waiting = asyncio.create_task(Oban(engine).result(spec))
    await eventually(lambda: seen)
    async with Oban(engine, {"default": 2}, poll_interval=0.02, shutdown_grace=0):
        with pytest.raises(JobFailed, match="the first time it fails"):
            await waiting


async def test_a_discarded_job_is_told(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 2}) as oban:
        [spec] = await oban.enqueue(boom.options(max_attempts=1).new())
        with pytest.raises(JobDiscarded, match="failed for good: ValueError: boom"):
            await oban.result(spec, with_retries=True)


async def test_a_job_that_is_not_committed_is_waited_for(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 2}) as oban, AsyncSession(engine) as session:
        [spec] = await enqueue(session, adds.new(1))
        with pytest.raises(ResultTimeout, match="no committed job has this id"):
            await oban.result(spec, timeout=0.05)
        waiting = asyncio.create_task(oban.result(spec))
        await session.commit()
        assert await waiting == 2


async def test_a_list_names_the_call_for_several(engine: AsyncEngine) -> None:
    specs: Any = [noop.new()]
    said = r"of a list take one: \[spec\] = await .* all of them: oban\.results\(specs\)"
    with pytest.raises(InvalidOption, match=said):
        await Oban(engine).result(specs)


@pytest.mark.parametrize("target", [None, True, "1", 2**63, noop.new()])
async def test_anything_but_a_job_is_refused(engine: AsyncEngine, target: Any) -> None:
    with pytest.raises(InvalidOption, match="expected the id of a job"):
        await Oban(engine).result(target)


async def test_a_timeout_that_is_none_is_refused(engine: AsyncEngine) -> None:
    with pytest.raises(InvalidOption, match=r"result\(timeout\)"):
        await Oban(engine).result(1, timeout=-1)


def test_the_errors_belong_to_the_tree() -> None:
    assert issubclass(JobDiscarded, JobFailed)
    for error in (ResultTimeout, JobFailed, JobCancelled):
        assert issubclass(error, ObanError)


@pytest.mark.parametrize("verb", ["retry", "delete"])
async def test_a_large_value_that_is_gone_before_it_is_read_is_an_error(
    engine: AsyncEngine, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    [spec] = await Oban(engine).enqueue(second_time.new())
    large = "(SELECT string_agg(md5(n::text), '') FROM generate_series(1, 9000) n)"
    meta = f"jsonb_build_object('recorded', true, 'return', {large})"
    await execute(engine, f"UPDATE oban_jobs SET state = 'completed', completed_at = now(), meta = {meta}")
    assert len(await Oban(engine).result(spec)) == 288_000
    outcome = Oban._outcome

    async def changed_before(oban: Oban, one: Any) -> Any:
        assert await getattr(Oban(engine), verb)(spec) == 1
        return await outcome(oban, one)

    monkeypatch.setattr(Oban, "_outcome", changed_before)
    said = "was retried before its value was read; wait for it again" if verb == "retry" else "was deleted before its"
    with pytest.raises(ObanError, match=said):
        await Oban(engine).result(spec)
