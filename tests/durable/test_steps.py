"""Steps: what is done once, and what a later run gets of it."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from oban_sqla import Job, NotInJob, Oban, ObanError, SignalTimeout, telemetry
from oban_sqla.durable import sleep, step, sync, wait_for
from oban_sqla.models import Step
from oban_sqla.runtime.chunk_attempt import attempt_of
from oban_sqla.runtime.durable.ways import Suspending
from oban_sqla.statements.steps import mark
from tests.durable import jobs
from tests.runtime.helpers import execute, finished, insert, until
from tests.support import eventually


async def failure_of(engine: AsyncEngine, body: Any, name: str = "body", worker: Any = jobs.anything) -> str:
    """The last line of the error with which a job ends that does this."""
    jobs.bodies[name] = body
    [job_id] = await insert(engine, worker.options(max_attempts=1).new(name=name))
    job = await until(engine, job_id, "discarded")
    return str(job.errors[-1]["error"]).strip().splitlines()[-1]


async def test_a_job_that_fails_after_its_steps_does_not_do_them_again(oban: Oban, engine: AsyncEngine) -> None:
    jobs.failing.add("once")
    [done] = await finished(engine, await insert(engine, jobs.order.new(7, fail="once")))
    assert done.meta["return"] | {"thread": ""} == {"day": "2026-11-26", "booked": 8, "counted": 9, "thread": ""}
    assert done.meta["return"]["thread"].startswith("oban-")
    assert jobs.calls == {"charge": 1, "book": 1, "count_up": 1, "runs": 2}
    assert await execute(engine, "SELECT what FROM durable_effects") == [("book 7",)]
    async with AsyncSession(engine) as session:
        kept = (await session.scalars(select(Step).order_by(Step.name))).all()
    assert [(one.name, one.kind) for one in kept] == [("book", "step"), ("charge", "step"), ("count", "step")]
    assert kept[1].value == {"number": 7, "day": "2026-11-26"}


async def test_a_plain_function_in_a_thread_has_steps_and_sleeps(oban: Oban, engine: AsyncEngine) -> None:
    jobs.failing.add("once")
    [done] = await finished(engine, await insert(engine, jobs.order_here.new(7, fail="once")))
    assert done.meta["return"] == [8, 8]
    assert jobs.calls == {"count_up": 1, "runs": 2}
    assert await execute(engine, "SELECT what FROM durable_effects") == [("book 7",)]
    assert done.attempt == 2


async def test_what_is_done_costs_a_replay_one_statement_for_all(
    oban: Oban, engine: AsyncEngine, sent: list[str]
) -> None:
    jobs.failing.add("once")
    await finished(engine, await insert(engine, jobs.order.new(1, fail="once")))
    assert sent == ["steps_of", "mark", "mark", "steps_of"]  # the mark of `book` is a part of its own transaction


async def test_steps_of_many_jobs_at_once_take_more_connections(oban: Oban, engine: AsyncEngine) -> None:
    assert oban._node is not None
    lanes = oban._node.connections.steps
    [one] = await finished(engine, await insert(engine, jobs.order.new(1)))
    assert [lane.connections for lane in lanes] == [1, 0, 0, 0]
    ids = await insert(engine, *(jobs.order.new(number) for number in range(2, 32)))
    done = await finished(engine, ids)
    assert all(job.state == one.state for job in done)
    assert lanes[1].connections == 1


async def test_two_runs_of_one_job_at_once_take_neither_a_step_nor_an_effect_twice(
    oban: Oban, engine: AsyncEngine
) -> None:
    """A node that was taken for dead wakes up, and its run goes on beside the next one."""
    assert oban._node is not None
    both = asyncio.Barrier(2)
    got: list[list[Any]] = []
    seen: list[Any] = []

    async def noted() -> int:
        await both.wait()
        seen.append(len(seen))
        return len(seen)

    async def differs(session: AsyncSession) -> int:
        await both.wait()
        return len(seen) + id(session)

    async def body() -> None:
        values = [await step(f"plain {n}", noted) for n in range(5)]
        booked = [await step(f"book {n}", jobs.book, n) for n in range(5)]
        got.append([*values, *booked, await step("differs", differs)])

    jobs.bodies["body"] = body
    [job_id] = await insert(engine, jobs.anything.new(name="body"))
    running = oban._node.producers["durable"].running
    first = await eventually(lambda: running.get(job_id))
    twin = await attempt_of(oban._node.host, first.row).run()
    await until(engine, job_id, "completed")
    assert twin[0] is not None
    assert twin[0].state == "completed"
    assert got[0] == got[1]
    assert len(seen) == 10  # each plain function twice, and one value kept
    assert await execute(engine, "SELECT count(*) FROM durable_effects") == [(5,)]


async def test_a_step_that_raises_keeps_nothing_and_is_the_failure_of_the_attempt(
    oban: Oban, engine: AsyncEngine
) -> None:
    async def breaks(session: AsyncSession) -> None:
        await session.execute(jobs.ADD, {"what": "lost"})
        raise RuntimeError("broken")

    async def body() -> None:
        await step("kept", jobs.value, 1)
        await step("broken", breaks)

    assert await failure_of(engine, body) == "RuntimeError: broken"
    assert await execute(engine, "SELECT name FROM oban_steps") == [("kept",)]
    assert await execute(engine, "SELECT count(*) FROM durable_effects") == [(0,)]


async def test_a_name_used_twice_is_refused_and_a_loop_that_numbers_its_own_is_not(
    oban: Oban, engine: AsyncEngine
) -> None:
    async def body() -> None:
        for n in range(2):
            await step(f"page {n}", jobs.value, n)
        await step("page 0", jobs.value, 0)

    assert "the step 'page 0' was used before in this run" in await failure_of(engine, body)


async def test_the_name_of_a_step_may_have_any_characters(oban: Oban, engine: AsyncEngine) -> None:
    name = 'pay "now" \\ é'

    async def body() -> Any:
        return await step(name, jobs.value, ["kept"])

    jobs.bodies["body"] = body
    [done] = await finished(engine, await insert(engine, jobs.anything.new(name="body")))
    assert done.meta["return"] == ["kept"]
    assert await execute(engine, "SELECT name, value FROM oban_steps") == [(name, ["kept"])]


async def test_a_step_after_the_end_of_its_run_is_refused(oban: Oban, engine: AsyncEngine) -> None:
    ended = asyncio.Event()
    left: list[asyncio.Task[Any]] = []

    async def late() -> None:
        await ended.wait()
        await step("late", jobs.value, 1)

    async def body() -> None:
        await step("first", jobs.value, 1)
        left.append(asyncio.create_task(late()))

    jobs.bodies["body"] = body
    await finished(engine, await insert(engine, jobs.anything.new(name="body")))
    ended.set()
    with pytest.raises(ObanError, match="the step 'late': it was called after the end of its run"):
        await left[0]
    assert await execute(engine, "SELECT name FROM oban_steps") == [("first",)]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("", jobs.value, 1), "step: expected a name, got ''"),
        (("sleep:1", jobs.value, 1), "names that begin with 'sleep:' or 'wait:' are not free"),
        (("call", "jobs.value", 1), "expected a function, got 'jobs.value'"),
        (("many", jobs.book, 1, 2, 3), "step 'many': too many positional arguments"),
        (
            ("object", jobs.value, object()),
            "the value of the step 'object': object, which JSON can't carry; pass what identifies it, such as a "
            "primary key, or annotate what the function returns",
        ),
        (
            ("mapped", jobs.value, [Job()]),
            "the value of the step 'mapped' has an instance of a mapped class, which JSON",
        ),
        (("deep", jobs.value, {"a": [{1}]}), "the value of the step 'deep'.a[0]: set, which JSON can't carry"),
    ],
)
async def test_what_a_step_can_not_be_is_said(oban: Oban, engine: AsyncEngine, given: Any, said: str) -> None:
    assert said in await failure_of(engine, lambda: step(*given))


async def test_a_step_with_a_session_is_refused_while_the_jobs_own_is_in_a_transaction(
    oban: Oban, engine: AsyncEngine
) -> None:
    said = await failure_of(engine, lambda: step("book", jobs.book, 1), worker=jobs.with_session)
    assert "asks for its own session while the job's session is in a transaction" in said
    assert await execute(engine, "SELECT count(*) FROM durable_effects") == [(0,)]


async def test_a_step_with_a_session_inside_of_another_step_is_refused(oban: Oban, engine: AsyncEngine) -> None:
    async def outer() -> None:
        await step("inner", jobs.book, 1)

    said = await failure_of(engine, lambda: step("outer", outer))
    assert "the step 'inner' asks for a session, inside of the step 'outer'" in said


async def test_the_commit_of_a_step_is_left_to_it(oban: Oban, engine: AsyncEngine) -> None:
    async def commits(session: AsyncSession) -> None:
        await session.execute(jobs.ADD, {"what": "early"})
        await session.commit()

    assert "commit() inside a job" in await failure_of(engine, lambda: step("early", commits))


async def test_a_step_outside_of_a_job_is_refused() -> None:
    with pytest.raises(NotInJob, match=r"step\(\) was called outside of a job; .* perform\(fn\.new"):
        await step("x", jobs.value, 1)
    with pytest.raises(NotInJob, match=r"step\(\) was called outside of a job"):
        sync.step("x", len, "")


async def test_a_value_that_is_not_of_the_type_that_is_said_comes_back_all_the_same(
    oban: Oban, engine: AsyncEngine
) -> None:
    """The effect is there: a failure would have it done again."""

    async def lies() -> int:
        return "seven"  # type: ignore[return-value]

    async def body() -> Any:
        return [await step("lies", lies)]

    jobs.bodies["body"] = body
    [done] = await finished(engine, await insert(engine, jobs.anything.new(name="body")))
    assert done.meta["return"] == ["seven"]


async def test_a_job_that_is_cancelled_in_a_step_keeps_what_a_thread_has_done(oban: Oban, engine: AsyncEngine) -> None:
    inside, leave = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def effect() -> str:
        loop.call_soon_threadsafe(inside.set)
        leave.wait(10)
        return "done"

    jobs.bodies["body"] = lambda: step("effect", effect)
    [job_id] = await insert(engine, jobs.anything.new(name="body"))
    await inside.wait()
    assert oban._node is not None
    run = oban._node.producers["durable"].running[job_id]
    await oban.cancel(job_id)
    await eventually(lambda: run.stop is not None)
    leave.set()
    await until(engine, job_id, "cancelled")
    assert await execute(engine, "SELECT name FROM oban_steps") == [("effect",)]


async def test_a_step_is_told_as_a_span(oban: Oban, engine: AsyncEngine) -> None:
    told: list[tuple[str, Any]] = []
    events = ["oban.step.start", "oban.step.stop"]
    telemetry.attach("steps", events, lambda event, fields: told.append((event, fields["step"])))
    try:
        jobs.bodies["body"] = lambda: step("one", jobs.value, 1)
        [job_id] = await insert(engine, jobs.anything.new(name="body"))
        await until(engine, job_id, "completed")
    finally:
        telemetry.detach("steps")
    assert told == [("oban.step.start", "one"), ("oban.step.stop", "one")]


async def test_sleeps_waits_and_signals_are_told(oban: Oban, engine: AsyncEngine) -> None:
    told: list[tuple[str, dict[str, Any]]] = []
    events = ["oban.sleep", "oban.wait", "oban.signal"]
    telemetry.attach("waits", events, lambda event, fields: told.append((event, dict(fields))))

    async def body() -> None:
        await sleep(0.1)
        await wait_for("go", live=0)
        with suppress(SignalTimeout):
            await wait_for("never", timeout=0, live=0)

    try:
        jobs.bodies["body"] = body
        [job_id] = await insert(engine, jobs.anything.new(name="body"))
        await until(engine, job_id, lambda job: job.meta.get("waiting") == "go")
        await oban.signal(job_id, "go")
        await until(engine, job_id, "completed")
    finally:
        telemetry.detach("waits")
    assert [(event, fields.get("signal")) for event, fields in told] == [
        ("oban.sleep", None), ("oban.sleep", "go"), ("oban.signal", "go"), ("oban.wait", "go"), ("oban.wait", "never")
    ]  # fmt: skip
    assert [fields.get("outcome") for _, fields in told[3:]] == ["signal", "timeout"]
    assert {fields["job_id"] for _, fields in told} == {job_id}
    assert told[0][1]["worker"] == "tests.durable.jobs.anything"
    assert 0 < told[0][1]["seconds"] <= 0.1


async def test_steps_run_together_in_one_job(oban: Oban, engine: AsyncEngine) -> None:
    async def body() -> Any:
        return await asyncio.gather(*(step(f"part {n}", jobs.value, n) for n in range(20)))

    jobs.bodies["body"] = body
    [done] = await finished(engine, await insert(engine, jobs.anything.new(name="body")))
    assert done.meta["return"] == list(range(20))


@pytest.mark.parametrize("writes", ["run", "finish"])
async def test_a_cancellation_does_not_cut_off_what_is_written_of_a_step(writes: str) -> None:
    written: list[str] = []

    class Slow:
        """A store, and sessions, that take their time."""

        async def run(self, *_: Any, **__: Any) -> list[Any]:
            await asyncio.sleep(0.01)
            written.append("run")
            return []

        async def complete_step(self, *_: Any) -> bool:
            await self.run()
            return True

    slow: Any = Slow()
    way: Any = Suspending(slow, slow.run)
    work = way.run(mark) if writes == "run" else way.finish(slow, None, None)
    task = asyncio.create_task(work)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert written == ["run"]
