"""One run of a job, without a database: in which order things happen, and what stopping it does when."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

import oban_sqla
from oban_sqla import Fenced, JobTimeout, Queue, current_job, job, telemetry
from oban_sqla.runtime.acks import Ack
from oban_sqla.runtime.attempt import Attempt
from oban_sqla.runtime.executors.executor import Executor
from oban_sqla.runtime.executors.inline import Inline
from oban_sqla.runtime.executors.loop import OnLoop
from oban_sqla.runtime.executors.thread import Threads
from oban_sqla.runtime.host import Host
from oban_sqla.runtime.producer import Producer
from oban_sqla.runtime.refusals import Refusals
from oban_sqla.runtime.sessions import Sessions
from oban_sqla.runtime.verdict import Stop
from tests.runtime.helpers import fetched

EXECUTORS: dict[str, Executor] = {"async": OnLoop(), "thread": Inline()}


@job(name="attempt.add")
async def add(a: int, b: int = 1) -> int:
    return a + b


@job(name="attempt.write", timeout=0.001)
async def write(session: AsyncSession) -> None: ...


@job(name="attempt.says_fenced")
async def says_fenced() -> None:
    raise Fenced("as if it were the runtime")


@job(name="attempt.hangs", timeout=0.001)
async def hangs() -> None:
    await asyncio.sleep(60)


@job(name="attempt.asks_itself", recorded=True)
def asks_itself() -> int:
    return current_job().id


entered, release = threading.Event(), threading.Event()


@job(name="attempt.waits", queue="plain_sessions")
def waits(session: Session) -> None:
    entered.set()
    release.wait(20)


class Opened(Sessions):
    """Gives a session that was never connected, and lets the test say what its end does."""

    def __init__(self) -> None:
        super().__init__(makers=(), blocking=Inline().do)
        self.calls: list[str] = []
        self.on_complete: Any = lambda: None
        self.on_close: Any = lambda: None

    async def open(self, kind: type) -> AsyncSession | Session:
        self.calls.append(f"open {kind.__name__}")
        return AsyncSession()

    async def complete(self, session: AsyncSession | Session, *acks: Ack) -> bool:
        self.calls += [f"complete {ack.state}" for ack in acks]
        self.on_complete()
        return True

    async def close(self, session: AsyncSession | Session) -> None:
        self.calls.append("close")
        self.on_close()


def attempt_of(worker: str, args: str = "{}", sessions: Sessions | None = None) -> Attempt:
    return Attempt(fetched(worker, args), Host(EXECUTORS, sessions or Opened()))


async def run(attempt: Attempt) -> tuple[Ack | None, BaseException | None]:
    attempt.task = task = asyncio.ensure_future(attempt.run())
    return await task


async def test_a_stop_that_comes_while_the_job_is_committed_changes_nothing() -> None:
    sessions = Opened()
    attempt = attempt_of("attempt.write", sessions=sessions)
    sessions.on_complete = lambda: setattr(attempt, "stop", Stop.TIMEOUT)
    ack, error = await run(attempt)
    assert ack is not None
    assert (ack.state, error, attempt.committed) == ("completed", None, True)
    assert sessions.calls == ["open AsyncSession", "complete completed", "close"]


async def test_the_timer_of_a_job_ends_with_its_call_not_with_its_commit() -> None:
    sessions = Opened()
    attempt = attempt_of("attempt.write", sessions=sessions)

    async def slowly(session: AsyncSession | Session, *acks: Ack) -> bool:
        await asyncio.sleep(0.01)  # ten times the job's timeout
        return True

    sessions.complete = slowly  # type: ignore[method-assign]
    ack, _ = await run(attempt)
    assert ack is not None
    assert (ack.state, attempt.stop) == ("completed", None)


async def test_a_commit_that_fails_is_the_failure_of_the_job() -> None:
    sessions = Opened()

    def refuse() -> None:
        raise ValueError("a constraint of the user's")

    sessions.on_complete = refuse
    attempt = attempt_of("attempt.write", sessions=sessions)
    ack, error = await run(attempt)
    assert ack is not None
    assert (ack.state, attempt.committed) == ("retryable", False)
    assert isinstance(error, ValueError)
    assert sessions.calls[-1] == "close"


async def test_a_session_that_can_not_be_closed_leaves_the_verdict(caplog: pytest.LogCaptureFixture) -> None:
    sessions = Opened()

    def break_off() -> None:
        raise OSError("connection lost")

    sessions.on_close = break_off
    attempt = attempt_of("attempt.write", sessions=sessions)
    ack, error = await run(attempt)
    assert ack is not None
    assert (ack.state, error, attempt.committed) == ("completed", None, True)
    assert "job 7: closing its session failed: OSError" in caplog.text


async def test_a_run_whose_job_another_run_has_writes_nothing() -> None:
    sessions = Opened()
    fenced = Fenced("job 7: it was given to another run")

    def refuse() -> None:
        raise fenced

    sessions.on_complete = refuse
    assert await run(attempt_of("attempt.write", sessions=sessions)) == (None, fenced)


async def test_a_job_that_raises_fenced_itself_has_failed() -> None:
    ack, error = await run(attempt_of("attempt.says_fenced"))
    assert ack is not None
    assert ack.state == "retryable"
    assert isinstance(error, Fenced)


async def test_telemetry_gets_the_timeout_not_the_cancellation_that_it_caused() -> None:
    heard: list[Mapping[str, Any]] = []
    telemetry.attach("attempt", ["oban.job.exception"], lambda _, fields: heard.append(fields))
    try:
        await run(attempt_of("attempt.hangs"))
    finally:
        telemetry.detach("attempt")
    [fields] = heard
    assert isinstance(fields["error"], JobTimeout)


async def test_a_run_that_goes_on_in_its_thread_when_the_loop_ends_is_not_acknowledged() -> None:
    threads, sessions = Threads("attempt"), Opened()
    attempt = Attempt(fetched("attempt.waits"), Host({"thread": threads}, sessions))
    attempt.task = task = asyncio.ensure_future(attempt.run())
    try:
        assert await asyncio.to_thread(entered.wait, 10)
        attempt.ask_to_stop(Stop.SHUTDOWN)
        await asyncio.sleep(0)
        assert not task.done(), "a request to stop waits for the thread"
        task.cancel()  # as asyncio.run does at its end
        with pytest.raises(asyncio.CancelledError):
            await task
        assert sessions.calls == ["open Session"], "the thread still uses its session"
    finally:
        release.set()
        threads.close()


def test_a_plain_function_runs_in_place_without_a_loop() -> None:
    attempt = attempt_of("attempt.asks_itself")
    with pytest.raises(StopIteration) as ended:
        attempt.run().send(None)
    ack, error = ended.value.value
    assert error is None
    assert ack.meta == '{"recorded":true,"return":7}'


async def test_the_way_of_a_row_to_its_ack_enters_no_file_more_than_three_times() -> None:
    """For a job that waits for nothing: each resumption of a coroutine passes through its callers once more."""
    root = Path(oban_sqla.__file__).parent
    entered: list[str] = []
    done = asyncio.Event()

    class Lane:
        connections = 1

    class Acks:
        def add(self, ack: Ack) -> None:
            sys.setprofile(None)
            assert ack.is_plain
            done.set()

    async def unused(_ack: Ack, _stopping: object) -> None: ...

    def note(frame: FrameType, event: str, _: object) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(root):
            name = str(path.relative_to(root))
            if not entered or entered[-1] != name:
                entered.append(name)

    def producer() -> Producer:
        made: Any = Producer(
            queue="default", options=Queue(1), node="here", lane=Lane(), acks=Acks(), refusals=Refusals(),  # type: ignore[arg-type]
            suspend=unused, attempt=lambda row: Attempt(row, Host(EXECUTORS, Opened())),
        )  # fmt: skip
        return made

    for tracing in (False, True):  # the first run builds what a worker keeps
        done.clear()
        fetching = producer()
        fetching._claimed.append((fetched("attempt.add", '{"a": 1}', producer=fetching.key), float("inf")))
        if tracing:
            sys.setprofile(note)
        try:
            fetching._start_claimed()
            await done.wait()
        finally:
            sys.setprofile(None)
    counts = Counter(entered)
    assert max(counts.values()) <= 3, counts
    assert {"runtime/producer.py", "runtime/attempt.py", "runtime/executors/loop.py", "runtime/verdict.py"} <= {*counts}
