"""The call of a job is a value: it can be carried out in another process."""

from __future__ import annotations

import os
import pickle
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from oban_sqla import InvalidArgs, Job, Oban, UnknownWorker, job
from oban_sqla.runtime.executors.call import Call
from oban_sqla.workers.registry import workers
from tests.runtime import elsewhere
from tests.runtime.helpers import fetched, insert, until


@job(name="call.with_session")
async def with_session(session: AsyncSession, job: Job, number: int) -> tuple[Any, ...]:
    return (session, job, number)


def test_a_call_travels_as_its_row_and_finds_its_worker_by_name() -> None:
    row = fetched("call.with_session", '{"number": 5}', id=12, meta='{"a": 1}', tags=["t"])
    assert row.job.id == 12
    call = Call(with_session.worker, row, {"session": object()})
    there = pickle.loads(pickle.dumps(call))
    assert there.worker is with_session.worker
    assert dict(there.injected) == {}, "the other process fills in its own"
    assert (there.row.id, there.row.args, there.row.meta, there.row.tags) == (12, '{"number": 5}', '{"a": 1}', ["t"])
    assert (there.row.queue, there.row.attempted_by) == ("default", ["here", "producer"])
    assert there.row.job is not row.job
    assert there.row.job.args == {"number": 5}
    assert dict(there.asked) == {"session": AsyncSession}


def test_a_call_of_an_unknown_worker_can_not_be_unpickled() -> None:
    @job(name="call.passing")
    async def passing() -> None: ...

    sent = pickle.dumps(Call(passing.worker, fetched("call.passing")))
    workers.remove(["call.passing"])
    with pytest.raises(UnknownWorker, match="no worker named 'call.passing' is registered in this process"):
        pickle.loads(sent)


async def test_what_is_injected_goes_to_its_parameters_whatever_the_args_say() -> None:
    row = fetched("call.with_session", '{"number": 5, "job": 1, "session": 2}')
    session = object()
    assert await Call(with_session.worker, row, {"session": session}).begin() == (session, row.job, 5)


def test_args_that_do_not_fit_are_refused_before_the_function_begins() -> None:
    with pytest.raises(InvalidArgs, match="number"):
        Call(with_session.worker, fetched("call.with_session", '{"number": "five"}'), {"session": None}).begin()


@pytest.fixture
async def abroad(engine: AsyncEngine) -> AsyncIterator[tuple[AsyncEngine, elsewhere.Elsewhere]]:
    """A started runtime whose jobs all run in another process."""
    executor = elsewhere.Elsewhere()
    try:
        async with Oban(engine, queues={"default": 5}) as oban:
            assert oban._node is not None
            oban._node.host.executors = {"async": executor, "thread": executor}
            yield engine, executor
    finally:
        executor.close()


async def test_jobs_run_in_another_process_that_gets_their_calls_pickled(
    abroad: tuple[AsyncEngine, elsewhere.Elsewhere],
) -> None:
    engine, executor = abroad
    plain, on_a_loop, of_a_class, *_ = ids = await insert(
        engine,
        elsewhere.describe.new(day="2025-02-03", names=["ann", "bob"]),  # type: ignore[arg-type]
        elsewhere.on_a_loop.new(4),
        elsewhere.Report.new({"id": 1}),
        elsewhere.decide.new("nothing"),
    )
    done = await until(engine, plain, "completed", timeout=30)
    value = done.meta["return"]
    assert value["pid"] != os.getpid()
    assert value["job"] == [plain, {"day": "2025-02-03", "names": ["ann", "bob"]}, 1]
    assert (value["day"], value["names"]) == ("2025-02-03", ["ann", "bob"])
    assert (await until(engine, on_a_loop, "completed")).meta["return"] == [value["pid"], 4]
    assert (await until(engine, of_a_class, "completed")).meta["return"] == [value["pid"], {"id": 1}]
    for job_id in ids:
        await until(engine, job_id, "completed")
    snoozed, cancelled, failed, late = await insert(
        engine, *(elsewhere.decide.new(how) for how in ("snooze", "cancel", "fail")), elsewhere.take_long.new()
    )
    assert (await until(engine, snoozed, "scheduled")).meta == {"snoozed": 1}
    assert (await until(engine, cancelled, "cancelled")).errors[0]["error"] == "not needed any more"
    assert "ValueError: no luck" in (await until(engine, failed, "retryable")).errors[0]["error"]
    assert "JobTimeout" in (await until(engine, late, "retryable")).errors[0]["error"]
    assert len(executor.sent) == 8
