"""What ``@job``, ``@worker`` and ``Backoff`` take, and what they refuse."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from oban_sqla import (
    Backoff,
    Cancel,
    Cron,
    Discard,
    InvalidArgs,
    InvalidOption,
    Job,
    JobSpec,
    Record,
    Snooze,
    Unique,
    injected,
    job,
    worker,
)
from oban_sqla.options.backoff import default_backoff
from oban_sqla.testing import perform
from oban_sqla.workers.registry import workers


async def send(user_id: int) -> None: ...


def plain(user_id: int) -> None: ...


class Report:
    async def process(self, job: Job) -> None: ...


JOB: dict[str, tuple[dict[str, Any], str]] = {
    "misspelt": ({"max_attempt": 3}, r"unknown option 'max_attempt' for @job: did you mean 'max_attempts'\?"),
    "unknown": ({"zzz": 3}, r"unknown option 'zzz' for @job: there are: aliases, backoff"),
    "blank name": ({"name": ""}, r"name: expected a name, got ''"),
    "number as name": ({"name": 7}, r"name: expected a name, got 7"),
    "one alias": ({"aliases": "old"}, r"aliases: expected a sequence of strings, got 'old'"),
    "blank alias": ({"aliases": [" "]}, r"one of aliases: expected a name, got ' '"),
    "queue": ({"queue": " "}, r"queue: expected a name, got ' '"),
    "priority": ({"priority": 10}, r"priority: expected 0 to 9 .*, got 10"),
    "max_attempts": ({"max_attempts": 0}, r"max_attempts: expected 1 to 32,767 .*, got 0"),
    "tags": ({"tags": "x"}, r"tags: expected a sequence of strings, got 'x'"),
    "meta": ({"meta": {"a": math.nan}}, r"meta\.a: nan"),
    "unique": ({"unique": True}, r"unique: expected Unique\(…\), got True"),
    "timeout": ({"timeout": -1}, r"worker .*: timeout: expected seconds \(0 or more\) or a timedelta, got -1"),
    "no timeout": ({"timeout": 0}, r"timeout: expected more than 0 seconds, or None for no limit, got 0"),
    "timeout in ms": ({"timeout": 1e10}, r"timeout: expected seconds \(0 or more, less than 10,000,000,000\)"),
    "deadline": ({"deadline": "1h"}, r"deadline: expected seconds .*, got '1h'"),
    "backoff": ({"backoff": "exponential"}, r"backoff: expected seconds .*, Backoff\(…\) or .*, got 'exp"),
    "list as backoff": ({"backoff": [10, 60]}, r"backoff: .* or a function of the job, got \[10, 60\]"),
    "class as backoff": ({"backoff": Backoff}, r"backoff: expected seconds .*, got <class .*Backoff"),
    "backoff of nothing": ({"backoff": lambda: 5}, r"backoff: it is called with the job, or with the job and the exc"),
    "executor": ({"executor": " "}, r"executor: expected a name, got ' '"),
    "coroutine in a thread": ({"executor": "thread"}, r"a coroutine function runs on the event loop, not in a thread"),
    "recorded": ({"recorded": "yes"}, r"recorded must be True or False, got 'yes'"),
}


@pytest.mark.parametrize("case", JOB)
def test_option_of_job_is_refused(case: str) -> None:
    given, message = JOB[case]
    refusal = InvalidArgs if case == "meta" else InvalidOption
    with pytest.raises(refusal, match=message):
        job(**given)(send)
    with pytest.raises(refusal, match=message.replace("@job", "@worker")):
        worker(**given)(Report)


def generator() -> Iterator[int]:
    yield 1


def positional(user_id: int, /) -> None: ...


def several(*user_ids: int) -> None: ...


class Needy:
    def __init__(self, client: object) -> None: ...
    async def process(self, job: Job) -> None: ...


class Jobless:
    async def process(self) -> None: ...


class Injected:
    async def process(self, job: Job, client: object = injected()) -> None: ...


class BackoffOfNothing(Report):
    @staticmethod
    def backoff(job: Job) -> int:
        return job.attempt


class WithQueue(Report):
    queue = "mail"


class WithTimeout(Report):
    timeout = 5


class Static:
    @staticmethod
    async def process(job: Job) -> dict[str, Any]:
        return job.args


async def test_a_process_that_is_static_gets_the_job_alone() -> None:
    made = worker(name="tests.options.Static")(Static)
    assert await perform(made.new({"days": 7})) == {"days": 7}


def test_an_attribute_beside_the_option_is_the_classs_own() -> None:
    assert worker(name="tests.options.WithQueue", queue="other")(WithQueue).new({}).queue == "other"


WORKERS: dict[str, tuple[Callable[[], Any], str]] = {
    "no function": (lambda: job("mail"), r"@job: expected a function, got 'mail'; options are given by name"),  # type: ignore[call-overload]
    "generator": (lambda: job(generator), r"@job generator: a generator can't be a job"),
    "positional only": (lambda: job(positional), r"positional: the parameter user_id.* can't be given by name"),
    "any number": (lambda: job(several), r"several: the parameter \*user_ids.* can't be given by name"),
    "made with arguments": (
        lambda: worker()(Needy),
        r"@worker Needy: it is made without arguments for each run, and that does not fit: missing .* 'client'",
    ),
    "process without the job": (
        lambda: worker()(Jobless),
        r"@worker Jobless: its method is called as process\(self, job\), and that does not fit",
    ),
    "backoff without the job": (
        lambda: worker()(BackoffOfNothing),
        r"@worker BackoffOfNothing: its method is called as backoff\(self, job\), and that does not fit: too many",
    ),
    "queue as an attribute": (
        lambda: worker()(WithQueue),
        r"@worker WithQueue: an attribute queue = 'mail' changes nothing; give it to the decorator: @worker",
    ),
    "timeout as an attribute": (lambda: worker(queue="mail")(WithTimeout), r"@worker\(timeout=5\)"),
    "process with what is injected": (
        lambda: worker()(Injected),
        r"@worker Injected: client is marked injected\(\), and process\(self, job\) gets the job only",
    ),
    "no process": (lambda: worker()(object), r"@worker object: it has no method process\(self, job\); add one"),
}


@pytest.mark.parametrize("case", WORKERS)
def test_what_cannot_be_a_worker_is_refused(case: str) -> None:
    make, message = WORKERS[case]
    with pytest.raises(InvalidOption, match=message):
        make()


BACKOFF: dict[str, tuple[dict[str, Any], str]] = {
    "kind": ({"kind": "quadratic"}, r"Backoff: kind must be constant, linear or exponential, got 'quadratic'"),
    "base": ({"base": 0}, r"Backoff: base must be a number of seconds above 0, got 0"),
    "text as base": ({"base": "1"}, r"Backoff: base must be a number of seconds above 0, got '1'"),
    "NaN as base": ({"base": math.nan}, r"Backoff: base must be a number of seconds above 0, got nan"),
    "max": ({"max": -1}, r"Backoff: max must be a number of seconds above 0, got -1"),
    "jitter": ({"jitter": 1.5}, r"Backoff: jitter must be a share from 0 to 1, got 1.5"),
    "text as jitter": ({"jitter": "x"}, r"Backoff: jitter must be a share from 0 to 1, got 'x'"),
}


@pytest.mark.parametrize("case", BACKOFF)
def test_option_of_backoff_is_refused(case: str) -> None:
    given, message = BACKOFF[case]
    with pytest.raises(InvalidOption, match=message):
        Backoff(**given)


@pytest.mark.parametrize("delay", [-1, "5", None, math.nan, True])
def test_snooze_wants_seconds(delay: Any) -> None:
    with pytest.raises(InvalidOption, match=r"Snooze: expected seconds \(0 or more\) or a timedelta, got "):
        Snooze(delay)


def test_snooze_wants_a_meta_that_json_carries() -> None:
    for meta in ({"at": {1}}, ["page"]):
        with pytest.raises(InvalidArgs, match=r"^Snooze: meta"):
            Snooze(60, meta=meta)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_outcomes_carry_what_they_were_given() -> None:
    assert Snooze(timedelta(minutes=1)).seconds == 60
    assert Cancel(LookupError("gone")).reason == "gone"
    assert Discard().reason == ""
    assert Record({"a": 1}).value == {"a": 1}


def test_options_of_a_worker_are_the_defaults_of_its_specs() -> None:
    spam = Unique(period=60)
    mail = job(name="tests.options.mail", queue="mail", priority=3, tags=["m"], meta={"a": 1}, unique=spam)(send)
    spec = mail.new(user_id=1)
    assert (spec.worker, spec.queue, spec.priority, spec.tags, spec.meta) == (
        "tests.options.mail",
        "mail",
        3,
        ("m",),
        {"a": 1},
    )
    assert spec.unique is spam
    changed = mail.options(queue="slow", schedule_in=timedelta(minutes=5)).new(user_id=1)
    assert (changed.queue, changed.priority, changed.schedule_in) == ("slow", 3, 300)
    assert JobSpec(mail, {"user_id": 1}, priority=9).priority == 9
    assert mail.new(user_id=1).queue == "mail"


def test_options_of_a_class_worker_are_given_beside_its_args() -> None:
    report = worker(name="tests.options.Report", queue="reports")(Report)
    spec = report.new({"id": 1}, priority=2)
    assert (spec.worker, spec.queue, spec.priority, spec.args) == ("tests.options.Report", "reports", 2, {"id": 1})
    assert report.new().args == {}
    assert isinstance(report(), Report)


def test_subclass_of_a_class_worker_is_not_a_worker_until_it_is_decorated() -> None:
    report: Any = worker(name="tests.options.Base")(type("Base", (Report,), {}))
    yearly: Any = type("Yearly", (report,), {})

    uses: list[Callable[[], object]] = [
        lambda: yearly.new({"id": 1}),
        lambda: JobSpec(yearly),
        lambda: Job.worker == yearly,
        lambda: Cron("@daily", yearly),
    ]
    for use in uses:
        with pytest.raises(InvalidOption, match="Yearly is not a worker: it inherits from one, which would run its"):
            use()
    assert not hasattr(yearly, "new")
    assert "process" in dict(inspect.getmembers(yearly)), "programs that look at classes get along with it"
    assert worker(name="tests.options.Yearly")(yearly).new({"id": 1}).worker == "tests.options.Yearly"
    assert report.new({"id": 1}).worker == report().new({"id": 1}).worker == "tests.options.Base"


def test_time_that_is_given_replaces_that_of_the_worker() -> None:
    soon = job(name="tests.options.soon")(send).options(schedule_in=60)
    assert soon.new(1).schedule_in == 60
    with pytest.raises(InvalidOption, match="both scheduled_at and schedule_in"):
        job(name="tests.options.both")(send).options(schedule_in=60, scheduled_at=datetime.now(UTC))


def test_function_of_a_job_stays_callable() -> None:
    @job(name="tests.options.double")
    def double(number: int) -> int:
        """Twice as much."""
        return 2 * number

    assert double(4) == 8
    assert (double.__name__, double.__doc__) == ("double", "Twice as much.")
    assert workers["tests.options.double"].is_async is False


def test_default_backoff_is_obans() -> None:
    for attempt, base in ((1, 17), (5, 47), (20, 15 + 2**20)):
        assert base <= default_backoff(attempt) <= base * 1.1
    assert 15 + 2**10 <= default_backoff(50, max_attempts=100) <= (15 + 2**10) * 1.1
    assert default_backoff(100, max_attempts=100) <= (15 + 2**20) * 1.1


def test_backoff_follows_its_kind_up_to_its_maximum() -> None:
    def delays(kind: Any) -> list[float]:
        return [Backoff(kind, base=2, max=20, jitter=0).delay(attempt) for attempt in (1, 2, 3, 20, 10_000)]

    assert delays("constant") == [2, 2, 2, 2, 2]
    assert delays("linear") == [2, 4, 6, 20, 20]
    assert delays("exponential") == [2, 4, 8, 20, 20]
    assert 2 <= Backoff("constant", base=2, jitter=0.5).delay(1) <= 3
