"""Jobs that do to their task what one should not: each is a failure of that job, and the node goes on.

More of them are in tests/runtime/test_outcomes.py.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from dataclasses import replace
from typing import Any, cast

import pytest
from sqlalchemy import event, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session

from oban_sqla import Cancel, Job, Oban, job
from oban_sqla.durable import step
from oban_sqla.runtime.attempt import Attempt
from oban_sqla.runtime.executors.loop import OnLoop
from oban_sqla.runtime.host import Host
from oban_sqla.runtime.sessions import Sessions
from oban_sqla.workers.outcomes import Outcome
from tests.faults.jobs import in_thread, note
from tests.runtime.helpers import fetched, finished, insert, until


class Odd(Outcome):
    """An outcome of the user's own invention."""


class Unprintable(Exception):
    def __str__(self) -> str:
        raise SystemExit("no words")

    __repr__ = __str__


@job(name="faults.misbehave", timeout=5)
async def misbehave(how: str) -> Any:
    task = asyncio.current_task()
    assert task is not None
    match how:
        case "cancels its own task":
            task.cancel()
            await asyncio.sleep(60)
        case "cancels its own task and fails":
            task.cancel()
            raise ValueError("and fails")
        case "raises an outcome of its own":
            raise Odd
        case "cannot be printed":
            raise Unprintable
        case "raises StopIteration":
            raise StopIteration
        case "raises a group":
            raise BaseExceptionGroup("many", [ValueError("one"), SystemExit(2)])
        case "returns what is no outcome":
            return Odd()
        case "raises itself as its cause":
            error = ValueError("around")
            error.__cause__ = error
            raise error
        case "loses its traceback":
            raise ValueError("traceless").with_traceback(None)
        case "calls itself for ever":
            await misbehave(how)
        case _:
            raise AssertionError(how)
    return None


FAILURES = {
    "cancels its own task": "CancelledError",
    "cancels its own task and fails": "and fails",
    "raises an outcome of its own": "Odd",
    "cannot be printed": "Unprintable",
    "raises StopIteration": "StopIteration",
    "raises a group": "many",
    "returns what is no outcome": "Odd",
    "raises itself as its cause": "around",
    "loses its traceback": "traceless",
    "calls itself for ever": "RecursionError",
}


@pytest.mark.parametrize("how", FAILURES)
async def test_a_job_that_misbehaves_fails_alone(engine: AsyncEngine, how: str) -> None:
    async with Oban(engine, queues={"default": 2}):
        [bad] = await insert(engine, misbehave.new(how))
        failed = await until(engine, bad, "retryable")
        good = await insert(engine, *(note.new() for _ in range(5)), in_thread.new())
        await finished(engine, good)
    assert failed.attempt == 1
    assert len(failed.errors) == 1
    assert FAILURES[how] in failed.errors[0]["error"]


@job(name="faults.ignore_cancellation", timeout=0.05)
async def ignore_cancellation() -> str:
    for _ in range(3):
        try:
            await asyncio.sleep(0.1)
        except asyncio.CancelledError:
            continue
    return "done all the same"


async def test_a_job_that_swallows_its_timeout_has_failed_and_its_value_is_refused(engine: AsyncEngine) -> None:
    async with Oban(engine, queues={"default": 1}):
        [stubborn] = await insert(engine, ignore_cancellation.new())
        failed = await until(engine, stubborn, "retryable")
        await finished(engine, await insert(engine, note.new()))
    assert "JobTimeout" in failed.errors[0]["error"]
    assert "return" not in failed.meta


@job(name="faults.cancel_and_return")
async def cancel_and_return() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


async def test_a_job_that_cancels_its_task_and_returns_is_completed(engine: AsyncEngine) -> None:
    async with Oban(engine, queues={"default": 1}):
        await finished(engine, await insert(engine, cancel_and_return.new(), note.new()))


@job(name="faults.reason")
async def reason(large: bool) -> Cancel:
    return Cancel("x\x00\ud800" * (2_000_000 if large else 1))


@pytest.mark.parametrize("large", [False, True])
async def test_a_reason_of_any_kind_is_stored(engine: AsyncEngine, large: bool) -> None:
    async with Oban(engine, queues={"default": 1}):
        [job_id] = await insert(engine, reason.new(large))
        cancelled = await until(engine, job_id, "cancelled")
    assert len(cancelled.errors[0]["error"]) < 100_000, "16,384 characters, of which most are escaped here"


@job(name="faults.interrupt")
async def interrupt() -> None:
    raise KeyboardInterrupt


async def test_an_interrupt_is_not_a_failure_and_passes(engine: AsyncEngine) -> None:
    ended: list[BaseException] = []
    original = Attempt.run

    async def caught(self: Attempt) -> Any:
        # It would end the event loop of the test as well.
        try:
            return await original(self)
        except KeyboardInterrupt as interruption:
            ended.append(interruption)
            return None, None

    Attempt.run = caught  # type: ignore[method-assign]
    try:
        async with Oban(engine, queues={"default": 1}) as oban:
            [job_id] = await insert(engine, interrupt.new())
            await finished(engine, await insert(engine, note.new()))
            assert len(ended) == 1
            interrupted = await until(engine, job_id, "executing")
            assert interrupted.errors == []
            # Nobody holds it any more; where the process goes on after all, it is given back with its attempt.
            assert oban._node is not None
            producer = oban._node.producers["default"]
            Attempt.run = original  # type: ignore[method-assign]
            producer.options = replace(producer.options, paused=True)
            producer.doubt()
            producer.wake()
            back: Job = await until(engine, job_id, "available")
            assert back.attempt == 0
    finally:
        Attempt.run = original  # type: ignore[method-assign]


def _cancelling(_job: Job) -> float:
    raise asyncio.CancelledError


def _exiting(_job: Job) -> float:
    sys.exit(3)


def _closing(_job: Job) -> float:
    raise GeneratorExit


@job(name="faults.backoff_cancels", backoff=_cancelling)
async def backoff_cancels() -> None:
    raise ValueError("the job")


@job(name="faults.backoff_exits", backoff=_exiting)
async def backoff_exits() -> None:
    raise ValueError("the job")


@job(name="faults.backoff_closes", backoff=_closing)
def backoff_closes() -> None:
    raise ValueError("the job")


@pytest.mark.parametrize(
    ("job", "said"),
    [(backoff_cancels, "CancelledError"), (backoff_exits, "SystemExit"), (backoff_closes, "GeneratorExit")],
)
async def test_a_backoff_that_raises_anything_ends_neither_the_node_nor_the_job(
    engine: AsyncEngine, job: Any, said: str
) -> None:
    async with Oban(engine, queues={"default": 10}):
        [job_id] = await insert(engine, job.new())
        failed = await until(engine, job_id, "retryable")
        await finished(engine, await insert(engine, note.new()))
    assert "the job" in failed.errors[0]["error"]
    assert said in failed.errors[0]["error"]


@job(name="faults.exits_generator")
async def exits_generator() -> None:
    raise GeneratorExit


@job(name="faults.exits_generator_later")
async def exits_generator_later() -> None:
    await asyncio.sleep(0.01)
    raise GeneratorExit


@job(name="faults.exits_generator_in_thread")
def exits_generator_in_thread() -> None:
    raise GeneratorExit


async def test_a_job_that_raises_generator_exit_has_failed(engine: AsyncEngine) -> None:
    async with Oban(engine, queues={"default": 10}):
        jobs = (exits_generator, exits_generator_later, exits_generator_in_thread)
        for job_id in await insert(engine, *(job.new() for job in jobs)):
            assert "GeneratorExit" in (await until(engine, job_id, "retryable")).errors[0]["error"]


class LeavingSession(AsyncSession):
    """Raises what `leaves` names where its job says so."""

    async def close(self) -> None:
        await super().close()
        if self.info.get("leave") == "close":
            raise leaves[0]("at the close")


leaves: list[type[BaseException]] = []


def _leave_before_commit(session: Session) -> None:
    if session.info.get("leave") == "commit":
        raise leaves[0]("before the commit")


@job(name="faults.leave_session")
async def leave_session(session: AsyncSession, where: str) -> None:
    session.info["leave"] = where
    await session.execute(select(1))


@job(name="faults.leave_step")
async def leave_step() -> None:
    async def leave(session: AsyncSession) -> None:
        await session.execute(select(1))
        raise leaves[0]("in the step")

    await step("leave", leave)


@pytest.mark.parametrize("kind", [SystemExit, GeneratorExit])
async def test_what_ends_a_process_ends_no_node_from_a_session_or_a_step(
    engine: AsyncEngine, kind: type[BaseException]
) -> None:
    leaves[:] = [kind]
    event.listen(Session, "before_commit", _leave_before_commit)
    try:
        async with Oban(engine, queues={"default": 10}, sessionmaker=async_sessionmaker(engine, class_=LeavingSession)):
            specs = [leave_session.new(where="close"), leave_session.new(where="commit"), leave_step.new()]
            closes, commits, steps = await insert(engine, *specs)
            await until(engine, closes, "completed")
            for job_id, said in ((commits, "before the commit"), (steps, "in the step")):
                assert f"{kind.__name__}: {said}" in (await until(engine, job_id, "retryable")).errors[0]["error"]
    finally:
        event.remove(Session, "before_commit", _leave_before_commit)


async def test_a_run_that_python_closes_with_its_task_has_not_failed() -> None:
    row = fetched("faults.wait", '{"name": "closed"}')
    attempt = Attempt(row, Host({"async": OnLoop()}, Sessions(makers=(), blocking=_never)))
    running = attempt.run()
    with suppress(StopIteration):
        running.send(None)
    attempt.task = cast(Any, "another than this")
    running.close()  # raises if the run goes on


async def _never(_fn: Any) -> None: ...
