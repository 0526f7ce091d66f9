"""What becomes of a job, judged without a database, a node or a loop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable, Generator
from datetime import datetime, timedelta
from typing import Any, cast

import pytest
from sqlalchemy.orm import Session

from oban_sqla import (
    Backoff,
    Batch,
    Cancel,
    Discard,
    InvalidArgs,
    InvalidOption,
    Job,
    JobTimeout,
    Record,
    Snooze,
    Workflow,
    job,
    worker,
)
from oban_sqla.runtime.acks import Ack
from oban_sqla.runtime.executors.call import Raised, Result, Returned
from oban_sqla.runtime.verdict import (
    Stop,
    Verdict,
    as_returned,
    cancelled,
    given_back,
    judge,
    keeps_effects,
    overdue,
    unknown_worker,
    unstarted,
)
from oban_sqla.workers.outcomes import Outcome
from tests.runtime.helpers import fetched


@job(name="verdict.plain", timeout=2, max_attempts=3)
async def plain() -> None: ...


def generator() -> Generator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


@job(name="verdict.recorded", recorded=True)
async def recorded() -> int:
    return 1


@job(name="verdict.threaded")
def threaded() -> None: ...


@job(name="verdict.patient", backoff=Backoff("constant", base=7, jitter=0))
async def patient() -> None: ...


@job(name="verdict.broken_backoff", backoff=lambda job: 1 / 0)
async def broken_backoff() -> None: ...


@job(name="verdict.final_and_broken", backoff=lambda job: 1 / 0, discard_for=(ValueError,))
async def final_and_broken() -> None: ...


@job(name="verdict.perishable", deadline=60)
async def perishable() -> None: ...


@worker(name="verdict.timed")
class Timed:
    def process(self, job: Job) -> None: ...

    def timeout(self, job: Job) -> float:
        return 3


class Odd(Outcome):
    pass


def judged(
    fn: Any, result: Result, stop: Stop | None = None, told: bool = False, **values: Any
) -> tuple[Ack, BaseException | None]:
    return judge(fetched(fn.worker.name, **values), fn.worker, result, stop, told)


def message(ack: Ack) -> str:
    assert ack.error is not None
    [entry] = json.loads(ack.error)
    assert entry["attempt"] == ack.attempt
    return str(entry["error"])


def raised(error: BaseException) -> Raised:
    try:
        raise error
    except BaseException as caught:
        return Raised(caught)


@pytest.mark.parametrize("value", [None, 5, "text", ValueError("a value")])
def test_what_returns_is_completed_by_the_plain_ack(value: object) -> None:
    ack, error = judged(plain, Returned(value), id=3, attempt=2, max_attempts=9)
    assert ack == Ack(3, 2, "producer", ack.attempted_at, queue="default", max_attempts=9)
    assert ack.is_plain
    assert error is None


@pytest.mark.parametrize(
    "make",
    [
        lambda: threaded.new(),
        lambda: [threaded.new()],
        lambda: Batch([threaded.new()]),
        lambda: (Workflow("not alone"),),
    ],
)
def test_jobs_that_are_returned_and_not_enqueued_fail_the_run(make: Callable[[], Any]) -> None:
    value = make()
    _, error = judged(plain, Returned(value))
    assert "which is not enqueued; add it to a session that the job asks for" in str(error)
    session = Session()
    session.add_all(cast(Any, value) if isinstance(value, list | tuple) else [value])
    _, error = judged(plain, Returned(value))
    assert error is None


def in_group(outcome: Outcome) -> Raised:
    """As a task of a group raises it, while another one is cancelled."""
    return raised(BaseExceptionGroup("tasks", [ExceptionGroup("inner", [outcome]), asyncio.CancelledError()]))


@pytest.mark.parametrize("how", [Returned, raised, in_group])
@pytest.mark.parametrize(
    ("outcome", "state", "delay", "burned"),
    [
        (Snooze(60), "scheduled", 60, False),
        (Record([1]), "completed", None, True),
        (Cancel("enough"), "cancelled", None, True),
        (Discard("hopeless"), "discarded", None, True),
    ],
)
def test_an_outcome_decides_whether_it_is_returned_or_raised(
    how: Callable[[Any], Result], outcome: Outcome, state: str, delay: float | None, burned: bool
) -> None:
    ack, error = judged(plain, how(outcome))
    assert (ack.state, ack.delay, ack.burned) == (state, delay, burned)
    assert error is (None if how is Returned else outcome)
    if isinstance(outcome, Cancel | Discard):
        assert message(ack) == outcome.reason


def test_a_snooze_is_counted_in_meta() -> None:
    assert json.loads(judged(plain, Returned(Snooze(1)))[0].meta or "") == {"snoozed": 1}
    ack, _ = judged(plain, Returned(Snooze(1)), meta='{"snoozed": 4, "mine": 1}')
    assert json.loads(ack.meta or "") == {"snoozed": 5}, "only what is added"
    assert json.loads(judged(plain, Returned(Snooze(1)), meta="[1]")[0].meta or "") == {"snoozed": 1}


def test_a_recorded_worker_keeps_its_value_and_its_outcomes_decide_all_the_same() -> None:
    ack, _ = judged(recorded, Returned({"a": [None]}))
    assert (ack.state, json.loads(ack.meta or "")) == ("completed", {"recorded": True, "return": {"a": [None]}})
    assert judged(recorded, Returned(Cancel("no")))[0].state == "cancelled"


def test_a_value_that_json_cannot_carry_is_a_failure_with_its_error() -> None:
    ack, error = judged(recorded, Returned(object()))
    assert ack.state == "retryable"
    assert isinstance(error, InvalidArgs)
    assert "the recorded value" in message(ack)


@pytest.mark.parametrize("how", [Returned, raised])
def test_an_outcome_of_another_kind_is_a_failure(how: Callable[[Any], Result]) -> None:
    ack, error = judged(plain, how(Odd()))
    assert ack.state == "retryable"
    assert isinstance(error, InvalidOption)
    assert "Odd is not a valid outcome of a job" in message(ack)


NOT_RUN: dict[str, tuple[Callable[[], Any], str]] = {
    "a generator": (generator, "verdict.plain returned a generator, of which nothing has run"),
    "an async generator": (async_generator, "returned an async generator, of which nothing has run"),
    "a map": (lambda: map(str, ()), "returned a map, of which nothing has run"),
    "a context manager": (contextlib.contextmanager(generator), "a context manager, which was not entered"),
    "the class of an outcome": (lambda: Snooze, r"the class Snooze, which says nothing; return .*: Snooze\(…\)"),
}


@pytest.mark.parametrize("what", NOT_RUN)
def test_a_job_that_returns_what_has_not_run_has_failed(what: str) -> None:
    made, words = NOT_RUN[what]
    ack, error = judged(plain, Returned(made()))
    assert ack.state == "retryable"
    assert isinstance(error, InvalidOption)
    assert re.search(words, message(ack))


def test_a_failure_is_retried_with_its_backoff_until_no_attempt_is_left() -> None:
    failure = raised(ValueError("no luck"))
    ack, error = judged(patient, failure)
    assert (ack.state, ack.delay, ack.burned) == ("retryable", 7, True)
    assert error is failure.error
    assert "ValueError: no luck" in message(ack)
    default, _ = judged(plain, failure, attempt=2)
    assert default.delay is not None
    assert 19 <= default.delay <= 19 * 1.1, "15 + 2**2, and up to a tenth more"
    last, _ = judged(plain, failure, attempt=3, max_attempts=3)
    assert (last.state, last.delay) == ("discarded", None)


def test_a_backoff_that_raises_is_told_and_replaced_by_the_usual_one() -> None:
    ack, error = judged(broken_backoff, raised(ValueError("no luck")))
    assert isinstance(error, ValueError)
    assert ack.delay is not None
    assert 17 <= ack.delay <= 17 * 1.1
    assert "no luck" in message(ack)
    assert "ZeroDivisionError" in message(ack)


def test_a_backoff_is_not_asked_where_no_attempt_follows() -> None:
    for which, attempt in ((broken_backoff, 20), (final_and_broken, 1)):
        ack, _ = judged(which, Raised(ValueError("no luck"), is_given=True), attempt=attempt, max_attempts=20)
        assert (ack.state, ack.delay, "ZeroDivisionError" in message(ack)) == ("discarded", None, False)


@pytest.mark.parametrize(
    ("result", "cause"),
    [
        (Returned("too late"), None),
        (Returned(Snooze(60)), None),
        (raised(asyncio.CancelledError()), None),
        (raised(ValueError("while it was cancelled")), ValueError),
    ],
)
def test_a_run_past_its_timeout_has_failed_whatever_it_returns(
    result: Result, cause: type[BaseException] | None
) -> None:
    ack, error = judged(plain, result, Stop.TIMEOUT)
    assert ack.state == "retryable"
    assert isinstance(error, JobTimeout)
    assert str(error) == "verdict.plain: ran longer than its timeout of 2 s"
    assert "JobTimeout" in message(ack)
    assert (type(error.__cause__) if error.__cause__ else None) is cause


def test_the_timeout_of_a_class_is_not_called_zero_seconds() -> None:
    _, error = judged(Timed, Returned(None), Stop.TIMEOUT)
    assert str(error) == "verdict.timed: ran longer than its timeout"


def test_an_outcome_that_is_raised_past_the_timeout_decides() -> None:
    assert judged(plain, raised(Snooze(60)), Stop.TIMEOUT)[0].state == "scheduled"
    assert judged(plain, raised(Discard("over")), Stop.TIMEOUT)[0].state == "discarded"
    in_session = as_returned(raised(Snooze(60)))
    assert isinstance(judged(plain, in_session, Stop.TIMEOUT)[1], JobTimeout), "but its effects are not committed"


@pytest.mark.parametrize(("stop", "state"), [(Stop.SHUTDOWN, "available"), (Stop.CANCEL, "cancelled")])
def test_what_was_cancelled_ends_as_the_reason_wants(stop: Stop, state: str) -> None:
    ack, error = judged(plain, raised(asyncio.CancelledError()), stop)
    assert ack.state == state
    assert isinstance(error, asyncio.CancelledError)
    assert ack.burned is (stop is Stop.CANCEL), "a shutdown gives the attempt back"


@pytest.mark.parametrize("stop", [Stop.SHUTDOWN, Stop.CANCEL])
def test_what_ends_in_spite_of_a_request_to_stop_keeps_its_outcome(stop: Stop) -> None:
    assert judged(plain, Returned(1), stop)[0].is_plain
    assert judged(plain, raised(ValueError("own")), stop)[0].state == "retryable"
    assert judged(plain, Returned(Cancel("own")), stop)[0].state == "cancelled"


def test_a_cancellation_that_was_not_asked_for_is_a_failure() -> None:
    ack, error = judged(plain, raised(asyncio.CancelledError()))
    assert ack.state == "retryable"
    assert isinstance(error, asyncio.CancelledError)


@pytest.mark.parametrize(
    ("fn", "value", "stop", "told", "state"),
    [
        (threaded, None, Stop.CANCEL, True, "cancelled"),
        (threaded, None, Stop.CANCEL, False, "completed"),
        (threaded, "a result", Stop.CANCEL, True, "completed"),
        (threaded, None, Stop.SHUTDOWN, True, "available"),
        (threaded, None, Stop.SHUTDOWN, False, "completed"),
        (threaded, "a result", Stop.SHUTDOWN, True, "completed"),
        (plain, None, Stop.SHUTDOWN, True, "completed"),
        (plain, None, Stop.CANCEL, True, "completed"),
    ],
)
def test_only_a_plain_function_that_was_told_to_stop_and_returns_nothing_has_stopped(
    fn: Any, value: object, stop: Stop, told: bool, state: str
) -> None:
    assert judged(fn, Returned(value), stop, told)[0].state == state


@pytest.mark.parametrize(
    ("verdict", "kept"),
    [
        (judged(plain, Returned(None)), True),
        (judged(plain, Returned(Record(1))), True),
        (judged(plain, as_returned(raised(Record(1)))), True),
        (judged(plain, as_returned(raised(Snooze(1)))), True),
        (judged(plain, Returned(Cancel())), False),
        (judged(plain, as_returned(raised(Discard()))), False),
        (judged(plain, Returned(None), Stop.TIMEOUT), False),
        (judged(plain, as_returned(raised(Snooze(1))), Stop.TIMEOUT), False),
        (judged(plain, raised(ValueError())), False),
        (judged(plain, raised(asyncio.CancelledError()), Stop.SHUTDOWN), False),
        (judged(recorded, Returned(object())), False),
    ],
)
def test_the_effects_of_a_run_are_kept_when_it_completes_or_snoozes(verdict: Verdict, kept: bool) -> None:
    assert keeps_effects(verdict[0]) is kept


def test_a_job_of_an_unknown_worker_is_put_off_longer_each_time_without_burning_an_attempt() -> None:
    first = unknown_worker(fetched("verdict.of_tomorrow"))
    assert (first.state, first.burned, first.error) == ("scheduled", False, None)
    assert json.loads(first.meta or "") == {"unknown_worker": 1}
    assert 5 <= (first.delay or 0) <= 5.5
    third = unknown_worker(fetched("verdict.of_tomorrow", meta='{"unknown_worker": 2}'))
    assert 20 <= (third.delay or 0) <= 22
    late = unknown_worker(fetched("verdict.of_tomorrow", meta='{"unknown_worker": 1000}'))
    assert 300 <= (late.delay or 0) <= 330


def test_a_job_past_its_deadline_is_cancelled_with_the_reason() -> None:
    at = datetime(2025, 1, 1)
    late = overdue(fetched("x", attempted_at=at, scheduled_at=at - timedelta(seconds=61)), perishable.worker)
    assert late is not None
    assert late.state == "cancelled"
    assert "not started by its deadline, 60 s after it was due" in message(late)
    in_time = fetched("x", attempted_at=at, scheduled_at=at - timedelta(seconds=60))
    assert overdue(in_time, perishable.worker) is None
    assert overdue(fetched("x", attempted_at=at, scheduled_at=datetime.min), plain.worker) is None


@pytest.mark.parametrize(
    ("meta", "seconds"),
    [
        ('{"deadline": 30.0}', 30),
        ('{"a": 1, "deadline": 90}', 90),
        ('{"deadline": "noon"}', 60),
        ('{"deadline": true}', 60),
        ('{"under": {"deadline": 1}}', 60),
        ("[]", 60),
    ],
)
def test_a_deadline_in_the_meta_of_a_job_overrides_that_of_its_worker(meta: str, seconds: int) -> None:
    at = datetime(2025, 1, 1)
    due = [at - timedelta(seconds=seconds + more) for more in (0, 1)]
    in_time, late = (
        overdue(fetched("x", attempted_at=at, scheduled_at=one, meta=meta), perishable.worker) for one in due
    )
    assert in_time is None
    assert late is not None
    assert f"deadline, {seconds} s after" in message(late)


@pytest.mark.parametrize("meta", ['{"deadline": 60}', "{}"])
def test_a_run_that_is_interrupted_is_noted_where_the_job_has_a_deadline(meta: str) -> None:
    ack, _ = judge(fetched("x", meta=meta), plain.worker, Raised(asyncio.CancelledError()), Stop.SHUTDOWN)
    assert ack.state == "available"
    assert ack.meta == ('{"begun":true}' if "deadline" in meta else None)


BEGUN = [{"attempt": 2}, *({"meta": f'{{"{key}": 1}}'} for key in ("begun", "rescued", "slept", "snoozed"))]


@pytest.mark.parametrize("began", BEGUN)
def test_a_job_that_had_begun_in_time_is_not_cancelled_by_its_deadline(began: dict[str, Any]) -> None:
    at = datetime(2025, 1, 1)
    late = fetched("x", attempted_at=at, scheduled_at=at - timedelta(seconds=61), **began)
    assert overdue(late, perishable.worker) is None


def test_a_job_that_was_stopped_before_it_began_is_given_back_or_cancelled() -> None:
    row = fetched("verdict.plain")
    back = given_back(row)
    assert (back.state, back.burned, back.error) == ("available", False, None)
    assert unstarted(row, Stop.SHUTDOWN) == back
    assert unstarted(row, Stop.CANCEL).state == cancelled(row).state == "cancelled"
    assert message(cancelled(row)) == "cancelled by request"


def test_judging_changes_nothing_of_what_it_is_given() -> None:
    row = fetched("verdict.plain", meta='{"snoozed": 1}')
    before = [getattr(row, name) for name in ("id", "attempt", "meta", "args", "errors", "tags", "attempted_by")]
    for result in (Returned(1), Returned(Snooze(1)), raised(ValueError()), raised(Cancel("x"))):
        for stop in (None, *Stop):
            judge(row, plain.worker, result, stop)
    assert before == [
        getattr(row, name) for name in ("id", "attempt", "meta", "args", "errors", "tags", "attempted_by")
    ]
