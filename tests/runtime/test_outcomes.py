"""What a job returns, raises or suffers, and what its row says afterwards."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import (
    Backoff,
    Cancel,
    Discard,
    InvalidOption,
    Job,
    JobSpec,
    Oban,
    Record,
    Snooze,
    current_job,
    job,
    worker,
)
from tests.runtime.helpers import execute, insert, load, until, wake


@job
async def succeed(value: int = 0) -> int:
    return value


@job(max_attempts=3)
async def fail() -> None:
    raise ValueError("no luck")


@job(max_attempts=2, backoff=0.01)
async def fail_quickly() -> None:
    raise ValueError("no luck")


@job
async def snooze_once() -> Snooze | None:
    if current_job().meta.get("page") == 2:
        return None
    return Snooze(timedelta(milliseconds=50), meta={"page": 2, "snoozed": 70})


@job
async def cancel_itself(by_raising: bool) -> Cancel:
    if by_raising:
        raise Cancel("not needed any more")
    return Cancel("not needed any more")


@job
async def discard_itself() -> Discard:
    return Discard("beyond repair")


@job(recorded=True)
async def answer() -> dict[str, int]:
    return {"answer": 42}


@job
async def record_what_json_cannot_carry() -> Record:
    return Record({"nested": [object()]})


@job(timeout=0.05)
async def too_slow() -> None:
    await asyncio.sleep(30)


@job(timeout=0.05)
async def too_slow_and_stubborn() -> str:
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        return "cancellation swallowed"
    return "slept"


@job(deadline=60)
async def perishable() -> None: ...


@job
async def misbehave(how: str) -> None:
    match how:
        case "SystemExit":
            sys.exit(3)
        case "CancelledError":
            raise asyncio.CancelledError
        case "RecursionError":
            await misbehave(how)
        case "str() raises":
            raise Unspeakable
        case "unstorable text":
            raise ValueError("NUL \x00, a lone surrogate \ud800, and " + "long " * 2_000_000)
        case _:
            raise AssertionError(how)


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@worker(queue="default", max_attempts=4)
class Report:
    async def process(self, job: Job) -> Record:
        if job.args["fail"]:
            raise ValueError("no report")
        return Record(f"report {job.args['number']} in attempt {job.attempt}")

    def backoff(self, job: Job) -> timedelta:
        return timedelta(hours=job.attempt)


@job
async def with_its_job(job: Job, number: int) -> Record:
    assert current_job() is job
    return Record([job.id, job.args, number])


async def test_a_job_that_returns_is_completed(any_engine: AsyncEngine) -> None:
    async with Oban(any_engine, queues={"default": 5}, node="here"):
        [job_id] = await insert(any_engine, succeed.new(5))
        done = await until(any_engine, job_id, "completed")
    assert done.attempt == 1
    assert done.attempted_by[0] == "here"
    assert done.attempted_at is not None
    assert done.completed_at is not None
    assert done.inserted_at <= done.attempted_at <= done.completed_at
    assert done.errors == []
    assert "return" not in done.meta


async def test_a_failure_is_stored_and_retried_with_the_backoff_of_oban(any_engine: AsyncEngine) -> None:
    async with Oban(any_engine, queues={"default": 5}):
        [job_id] = await insert(any_engine, fail.new())
        failed = await until(any_engine, job_id, "retryable")
    [error] = failed.errors
    assert error["attempt"] == 1
    assert datetime.fromisoformat(error["at"]) - datetime.now(UTC) < timedelta(minutes=1)
    assert "ValueError: no luck" in error["error"]
    assert "raise ValueError" in error["error"], "the traceback leads to the job's own line"
    assert "oban_sqla/runtime" not in error["error"]
    assert failed.attempted_at is not None
    wait = (failed.scheduled_at - failed.attempted_at).total_seconds()
    assert 17 <= wait < 17 * 1.1 + 5  # 15 + 2**1, up to 10 % more, and the time it took


async def test_the_last_failure_discards(engine: AsyncEngine) -> None:
    async with Oban(engine, queues={"default": 5}, poll_interval=0.05):
        [job_id] = await insert(engine, fail_quickly.new())
        failed = await until(engine, job_id, "discarded")
    assert failed.attempt == 2
    assert [error["attempt"] for error in failed.errors] == [1, 2]
    assert failed.discarded_at is not None


async def test_a_snooze_burns_no_attempt(engine: AsyncEngine) -> None:
    async with Oban(engine, queues={"default": 5}, poll_interval=0.05):
        [job_id] = await insert(engine, snooze_once.options(meta={"page": 1, "kept": True}).new())
        done = await until(engine, job_id, "completed")
    assert done.attempt == 1
    assert done.meta == {"snoozed": 1, "page": 2, "kept": True}, "its meta is for the next run"


@pytest.mark.parametrize("by_raising", [False, True])
async def test_cancel_records_its_reason(engine: AsyncEngine, by_raising: bool) -> None:
    async with Oban(engine, queues={"default": 5}):
        [job_id] = await insert(engine, cancel_itself.new(by_raising))
        cancelled = await until(engine, job_id, "cancelled")
    assert [error["error"] for error in cancelled.errors] == ["not needed any more"]
    assert cancelled.cancelled_at is not None


async def test_discard_records_its_reason(engine: AsyncEngine) -> None:
    async with Oban(engine, queues={"default": 5}):
        [job_id] = await insert(engine, discard_itself.new())
        discarded = await until(engine, job_id, "discarded")
    assert [error["error"] for error in discarded.errors] == ["beyond repair"]
    assert discarded.attempt == 1


async def test_a_recorded_value_is_kept(any_engine: AsyncEngine) -> None:
    async with Oban(any_engine, queues={"default": 5}):
        [job_id] = await insert(any_engine, answer.options(meta={"mine": 1}).new())
        done = await until(any_engine, job_id, "completed")
    assert done.meta == {"mine": 1, "recorded": True, "return": {"answer": 42}}


async def test_a_value_that_json_cannot_carry_is_a_failure(engine: AsyncEngine) -> None:
    async with Oban(engine, queues={"default": 5}):
        [job_id] = await insert(engine, record_what_json_cannot_carry.new())
        failed = await until(engine, job_id, "retryable")
    assert "recorded value" in failed.errors[0]["error"]
    assert "nested[0]" in failed.errors[0]["error"]


@pytest.mark.parametrize("slow", [too_slow, too_slow_and_stubborn])
async def test_a_coroutine_that_takes_too_long_is_a_failure(engine: AsyncEngine, slow: JobSpec) -> None:
    async with Oban(engine, queues={"default": 5}):
        [job_id] = await insert(engine, slow.new())  # type: ignore[attr-defined]
        failed = await until(engine, job_id, "retryable")
    assert "JobTimeout" in failed.errors[0]["error"]
    assert "0.05 s" in failed.errors[0]["error"]


async def test_a_job_past_its_deadline_is_cancelled_unrun(engine: AsyncEngine) -> None:
    ago = perishable.options(scheduled_at=datetime.now(UTC) - timedelta(minutes=2))
    patient = perishable.options(scheduled_at=datetime.now(UTC) - timedelta(minutes=2), deadline=timedelta(hours=1))
    async with Oban(engine, queues={"default": 5}):
        late_id, fresh_id, patient_id = await insert(engine, ago.new(), perishable.new(), patient.new())
        cancelled = await until(engine, late_id, "cancelled")
        await until(engine, fresh_id, "completed")
        waited = await until(engine, patient_id, "completed")
    assert "deadline" in cancelled.errors[0]["error"]
    assert waited.meta == {"deadline": 3600.0}


@pytest.mark.parametrize("how", ["SystemExit", "CancelledError", "RecursionError", "str() raises", "unstorable text"])
async def test_whatever_a_job_raises_is_its_failure_and_the_node_goes_on(engine: AsyncEngine, how: str) -> None:
    async with Oban(engine, queues={"default": 5}):
        [bad_id] = await insert(engine, misbehave.new(how))
        failed = await until(engine, bad_id, "retryable")
        [good_id] = await insert(engine, succeed.new())
        await until(engine, good_id, "completed")
    assert failed.attempt == 1
    text = failed.errors[0]["error"]
    expected = {"str() raises": "Unspeakable", "unstorable text": "\\x00"}
    assert expected.get(how, how) in text
    assert len(text) < 20_000


async def test_a_class_gets_its_job_and_has_its_own_backoff(any_engine: AsyncEngine) -> None:
    async with Oban(any_engine, queues={"default": 5}):
        given = [{"number": 7, "fail": False}, {"number": 8, "fail": True}]
        good, bad = await insert(any_engine, *map(Report.new, given))
        done = await until(any_engine, good, "completed")
        failed = await until(any_engine, bad, "retryable")
    assert done.meta["return"] == "report 7 in attempt 1"
    assert failed.attempted_at is not None
    assert abs(failed.scheduled_at - failed.attempted_at - timedelta(hours=1)) < timedelta(minutes=1)
    assert failed.max_attempts == 4


async def test_a_parameter_annotated_with_job_gets_the_job(any_engine: AsyncEngine) -> None:
    async with Oban(any_engine, queues={"default": 5}):
        [job_id] = await insert(any_engine, with_its_job.new(3))
        done = await until(any_engine, job_id, "completed")
    assert done.meta["return"] == [job_id, {"number": 3}, 3]


async def test_a_job_of_an_unknown_worker_is_given_back_to_a_node_that_knows_it(engine: AsyncEngine) -> None:
    async with Oban(engine, queues={"default": 5}, poll_interval=0.05) as oban:
        first, second = await insert(engine, JobSpec("app.of.tomorrow"), JobSpec("app.of.tomorrow", priority=1))
        given_back = await until(engine, first, "scheduled")
        assert given_back.attempt == 0
        assert given_back.meta == {"unknown_worker": 1}
        assert given_back.errors == []
        assert given_back.scheduled_at > datetime.now(UTC) + timedelta(seconds=2)
        await until(engine, second, "scheduled")
        # The name is left out of the next fetches, and nothing is stuck behind it.
        stays, runs = await insert(engine, JobSpec("app.of.tomorrow"), succeed.options(priority=9).new())
        await until(engine, runs, "completed")
        assert (await load(engine, stays)).state == "available"

        @job(name="app.of.tomorrow")
        async def arrived() -> None: ...

        wake(oban, "default")
        await until(engine, stays, "completed")
        await execute(engine, "UPDATE oban_jobs SET scheduled_at = now() AT TIME ZONE 'UTC' WHERE id = :id", id=first)
        assert (await until(engine, first, "completed")).attempt == 1


async def test_arguments_that_no_longer_fit_are_a_failure_that_names_the_parameter(engine: AsyncEngine) -> None:
    name = succeed.worker_name
    async with Oban(engine, queues={"default": 5}):
        wrong, dropped = await insert(
            engine, JobSpec(name, {"value": "seven"}), JobSpec(name, {"value": 7, "of_old": True})
        )
        failed = await until(engine, wrong, "retryable")
        await until(engine, dropped, "completed")
    assert "InvalidArgs" in failed.errors[0]["error"]
    assert "value" in failed.errors[0]["error"]


@pytest.mark.parametrize(
    ("backoff", "attempt", "least", "most"),
    [
        (Backoff("constant", base=3, jitter=0), 5, 3, 3),
        (Backoff("linear", base=3, jitter=0), 5, 15, 15),
        (Backoff("exponential", base=3, jitter=0), 3, 12, 12),
        (Backoff("exponential", base=3, max=10, jitter=0.5), 9, 10, 15),
    ],
)
def test_backoffs(backoff: Backoff, attempt: int, least: float, most: float) -> None:
    assert least <= backoff.delay(attempt) <= most


class Flaky(Exception): ...


@job(retry_for=Flaky)
async def retried_for(kind: str) -> None:
    raise {"flaky": Flaky, "other": KeyError}[kind](kind)


@job(retry_for=(Exception,), discard_for=[ValueError, KeyError])
def discarded_for(kind: str, number: int = 0) -> None:
    raise {"value": ValueError, "key": KeyError, "unicode": UnicodeError, "other": RuntimeError}[kind](kind)


@worker(discard_for=ValueError)
class Discards:
    def process(self, job: Job) -> None:
        raise ValueError("never")


async def test_exceptions_decide_whether_a_job_is_tried_again(any_engine: AsyncEngine) -> None:
    expected = {
        retried_for.new("flaky"): "retryable",
        retried_for.new("other"): "discarded",
        discarded_for.new("value"): "discarded",
        discarded_for.new("unicode"): "discarded",
        discarded_for.new("other"): "retryable",
        Discards.new(): "discarded",
    }
    async with Oban(any_engine, queues={"default": 5}):
        for spec, state in expected.items():
            [job_id] = await insert(any_engine, spec)
            failed = await until(any_engine, job_id, state)
            assert (failed.attempt, failed.max_attempts, len(failed.errors)) == (1, 20, 1), spec
            assert (failed.discarded_at is not None) is (state == "discarded")


@job
async def in_tasks(how: str) -> None:
    async def first() -> None:
        raise {"snooze": Snooze(60), "cancel": Cancel("no"), "both": Cancel("no")}[how]

    async def second() -> None:
        await asyncio.sleep(0)
        if how == "both":
            raise ValueError("and a failure")

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(second())
        tasks.create_task(first())


@job(retry_for=(Flaky,), discard_for=(KeyError,))
async def several(*, kinds: list[str]) -> None:
    raise ExceptionGroup("all", [{"flaky": Flaky, "key": KeyError, "other": ValueError}[kind](kind) for kind in kinds])


async def test_what_the_tasks_of_a_job_raise_together_is_judged_one_by_one(any_engine: AsyncEngine) -> None:
    expected = {
        in_tasks.new("cancel"): "cancelled",
        in_tasks.new("snooze"): "scheduled",
        in_tasks.new("both"): "retryable",
        several.new(kinds=["flaky", "flaky"]): "retryable",
        several.new(kinds=["flaky", "key"]): "discarded",
        several.new(kinds=["flaky", "other"]): "discarded",
    }
    async with Oban(any_engine, queues={"default": 5}):
        for spec, state in expected.items():
            [job_id] = await insert(any_engine, spec)
            assert (await until(any_engine, job_id, state)).attempt == (0 if state == "scheduled" else 1), spec


async def test_what_the_function_has_not_raised_is_not_judged(any_engine: AsyncEngine) -> None:
    wrong = JobSpec("tests.runtime.test_outcomes.discarded_for", {"kind": "value", "number": "not one"})
    async with Oban(any_engine, queues={"default": 5}):
        [job_id] = await insert(any_engine, wrong)  # InvalidArgs is a ValueError
        assert "InvalidArgs" in (await until(any_engine, job_id, "retryable")).errors[0]["error"]


@pytest.mark.parametrize("given", [(), "ValueError", [1], (ValueError, "x"), None])
def test_anything_but_classes_of_exceptions_is_refused(given: object) -> None:
    for option in ("retry_for", "discard_for"):
        with pytest.raises(InvalidOption, match=f"{option}: expected one or more classes of exceptions"):
            options: Any = {option: given}
            job(**options)(lambda: None)
