"""What ``@job`` and ``@worker`` make of the things that they decorate, and what they refuse at once."""

from __future__ import annotations

import copy
import functools
import inspect
import pickle
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, cast
from unittest.mock import create_autospec

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session

from oban_sqla import Backoff, InvalidArgs, InvalidOption, Job, JobSpec, Oban, job, worker
from oban_sqla.workers.registry import workers


@pytest.fixture(autouse=True)
def _forget_workers() -> Iterator[None]:
    before = set(workers)
    yield
    workers.remove(set(workers) - before)


def plainly(fn: Callable[..., Any]) -> Any:
    """A decorator that hides what it decorates behind a plain function."""

    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return wrapper


async def coroutine(user_id: int) -> int:
    return user_id


def generator(user_id: int) -> Iterator[int]:
    yield user_id


async def async_generator(user_id: int) -> AsyncIterator[int]:
    yield user_id


@contextmanager
def context(user_id: int) -> Generator[int]:
    yield user_id


@asynccontextmanager
async def async_context(user_id: int) -> AsyncGenerator[int]:
    yield user_id


@contextmanager
def surroundings() -> Generator[None]:
    yield


class CoroutineCall:
    """A decorator that is a class, with a coroutine for its call."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        self._fn = fn
        functools.update_wrapper(self, fn)

    async def __call__(self, user_id: int) -> Any:
        return self._fn(user_id)


# What runs below a decorator.

COROUTINES: dict[str, Callable[[], Any]] = {
    "functools.wraps": lambda: plainly(coroutine),
    "twice": lambda: plainly(plainly(coroutine)),
    "a context manager as a decorator": lambda: surroundings()(coroutine),
    "a class with a coroutine for its call": lambda: CoroutineCall(coroutine),
    "staticmethod": lambda: staticmethod(coroutine),
    "functools.cache": lambda: functools.cache(coroutine),
    "@job": lambda: job(name="tests.decoration.inner")(coroutine),
}


@pytest.mark.parametrize("way", COROUTINES)
def test_decorated_coroutine_function_runs_on_the_event_loop(way: str) -> None:
    made = job(name="tests.decoration.coroutine")(COROUTINES[way]())
    assert made.worker.executor == "async"
    assert made.new(7).args == {"user_id": 7}


def test_decorated_coroutine_function_runs_in_a_thread_when_that_is_said() -> None:
    made = job(name="tests.decoration.thread", executor="thread")(plainly(coroutine))
    assert made.worker.executor == "thread"
    with pytest.raises(InvalidOption, match="a coroutine function runs on the event loop, not in a thread"):
        job(name="tests.decoration.thread", executor="thread")(coroutine)


NOTHING_RUNS: dict[str, tuple[Callable[..., Any], str]] = {
    "generator": (generator, "a generator can't be a job, a call runs nothing of it; write a function that returns"),
    "async generator": (async_generator, "a generator can't be a job"),
    "decorated generator": (plainly(generator), r'a generator can\'t be a job.*its decorator.*executor="thread"'),
    "decorated async generator": (plainly(async_generator), "a generator can't be a job"),
    "context manager": (context, "a context manager can't be a job, a call runs nothing of it"),
    "async context manager": (async_context, "a context manager can't be a job"),
    "decorated context manager": (plainly(context), "a context manager can't be a job"),
}


@pytest.mark.parametrize("case", NOTHING_RUNS)
def test_function_whose_body_a_call_does_not_run_is_refused(case: str) -> None:
    fn, message = NOTHING_RUNS[case]
    with pytest.raises(InvalidOption, match=f"@job {fn.__qualname__}: {message}"):
        job(fn)
    with pytest.raises(InvalidOption, match=rf"@worker .*Report\.process: {message}"):
        worker(type("Report", (), {"process": fn}))


def test_decorator_that_runs_a_generator_to_its_end_is_taken_when_it_says_so() -> None:
    assert job(name="tests.decoration.driven", executor="thread")(plainly(generator)).worker.executor == "thread"


def test_decorated_process_of_a_class_runs_on_the_event_loop() -> None:
    class Report:
        @plainly
        async def process(self, job: Job) -> None: ...

    assert worker(name="tests.decoration.Report")(Report).worker.executor == "async"


# Backoffs.


async def soon(job: Job) -> float:
    return 1.0


@pytest.mark.parametrize("backoff", [soon, plainly(soon), generator])
def test_backoff_that_gives_no_number_is_refused(backoff: Any) -> None:
    with pytest.raises(InvalidOption, match=r"backoff: expected a plain function, got one that gives a .*; nothing"):
        job(backoff=backoff)(coroutine)

    class Report:
        def process(self, job: Job) -> None: ...

    for name in ("backoff", "timeout"):
        with pytest.raises(InvalidOption, match=rf"Report\.{name}: expected a plain function"):
            worker(type("Report", (Report,), {name: backoff}))


@pytest.mark.parametrize(
    ("value", "delay"), [(Backoff("constant", base=7, jitter=0), 7), (7, 7), (timedelta(seconds=7), 7)]
)
def test_backoff_function_may_return_a_backoff(value: Any, delay: float) -> None:
    made = job(name="tests.decoration.backoff", backoff=lambda job: value)(coroutine)
    assert made.worker.delay_for(Job, OSError(), 1, 20) == delay

    @worker(name="tests.decoration.Backoff")
    class Report:
        def process(self, job: Job) -> None: ...

        def backoff(self, job: Job) -> Any:
            return value

    assert Report.worker.delay_for(Job, OSError(), 1, 20) == delay


def test_a_backoff_may_take_the_exception_too() -> None:
    @worker(name="tests.decoration.ByErrno")
    class Report:
        def process(self, job: Job) -> None: ...

        def backoff(self, job: Job, error: OSError) -> float:
            return float(error.errno or 0)

    made = job(name="tests.decoration.by_errno", backoff=lambda failed, error: error.errno)(coroutine)
    with_default = job(name="tests.decoration.with_default", backoff=lambda failed, base=3: base)(coroutine)
    waits = [one.worker.delay_for(Job, OSError(7, "no"), 1, 20) for one in (Report, made, with_default)]
    assert waits == [7, 7, 3]
    with pytest.raises(InvalidOption, match=r"backoff: expected seconds .*, a timedelta or a Backoff\(…\), got None"):
        made.worker.delay_for(Job, OSError(), 1, 20)


def test_backoff_that_is_returned_counts_the_attempt() -> None:
    linear = Backoff("linear", base=2, jitter=0)
    made = job(name="tests.decoration.linear", backoff=lambda job: linear)(coroutine)
    assert [made.worker.delay_for(Job, OSError(), attempt, 20) for attempt in (1, 3)] == [2, 6]


# What is not a function, or not a class.


class Mailer:
    async def send(self, user_id: int) -> None: ...

    @classmethod
    def send_all(cls, user_id: int) -> None: ...

    @staticmethod
    async def deliver(user_id: int) -> None: ...


NO_FUNCTIONS: dict[str, tuple[Callable[[], Any], str]] = {
    "class": (lambda: job(Mailer), r"@job Mailer: a class becomes a worker by @worker"),
    "class with options": (lambda: job(queue="x")(Mailer), r"@job Mailer: a class becomes a worker by @worker"),
    "method": (lambda: job(Mailer.send), r"@job Mailer\.send: a method needs its object, which no job has"),
    "class method": (lambda: job(vars(Mailer)["send_all"]), r"@job: expected a function, got <classmethod"),
    "partial": (lambda: job(functools.partial(coroutine, 7)), r"@job: expected a function, got functools\.partial"),
    "function as a class": (
        lambda: cast(Any, worker)(coroutine),
        r"@worker: expected a class, got <function .*becomes .* by @job",
    ),
    "name of a class": (lambda: cast(Any, worker)("reports"), r"@worker: expected a class, got 'reports'"),
}


@pytest.mark.parametrize("case", NO_FUNCTIONS)
def test_what_is_not_a_function_or_not_a_class_is_refused_at_once(case: str) -> None:
    make, message = NO_FUNCTIONS[case]
    with pytest.raises(InvalidOption, match=message):
        make()


def test_function_in_the_body_of_a_class_that_needs_no_object_is_a_worker() -> None:
    class Jobs:
        @job
        @staticmethod
        async def deliver(user_id: int) -> int:
            return user_id

        @staticmethod
        @job
        def collect(user_id: int) -> int:
            return user_id

        @job
        def plain(user_id: int) -> int:  # noqa: N805  # pyright: ignore[reportGeneralTypeIssues]
            return user_id

    assert Jobs.deliver.new(7).args == Jobs.collect.new(7).args == Jobs.plain.new(7).args == {"user_id": 7}
    assert Jobs.plain(7) == Jobs().plain(7) == 7
    assert Jobs.deliver.worker.executor == "async"


def test_worker_is_used_with_and_without_parentheses() -> None:
    @worker
    class Bare:
        async def process(self, job: Job) -> None: ...

    @worker()
    class Called:
        async def process(self, job: Job) -> None: ...

    assert Bare.new({"id": 1}).args == Called.new({"id": 1}).args == {"id": 1}


# Options at the wrong door.


def test_option_of_one_job_is_not_one_of_the_worker_and_the_other_way_round() -> None:
    made = job(name="tests.decoration.options")(coroutine)

    @worker(name="tests.decoration.Options")
    class Report:
        def process(self, job: Job) -> None: ...

    loose, report = cast(Any, made), cast(Any, Report)
    with pytest.raises(InvalidArgs, match=r"no parameter 'schedule_in', it is an option: \.options\(schedule_in=…\)"):
        loose.new(user_id=7, schedule_in=60)
    with pytest.raises(InvalidArgs, match=r"no parameter 'timeout', it is an option of the worker: @job\(timeout=…\)"):
        loose.new(user_id=7, timeout=60)
    with pytest.raises(InvalidArgs, match=r"there is no parameter 'user', did you mean 'user_id'\?"):
        loose.new(user=7)
    for refused in (partial(loose.options, timeout=5), partial(report.new, {}, timeout=5)):
        with pytest.raises(InvalidOption, match=r"'timeout' is an option of the worker: @job\(timeout=…\)"):
            refused()
    for decorator in (cast(Any, job), cast(Any, worker)):
        with pytest.raises(InvalidOption, match=r"'schedule_in' is an option of one job: \.options\(schedule_in=…\)"):
            decorator(schedule_in=5)


def test_key_that_the_flush_has_yet_to_make_names_later() -> None:
    made = job(name="tests.decoration.unflushed")(coroutine)
    with pytest.raises(InvalidArgs, match=r"user_id: .*got NoneType\); for what the flush .* pass later\(lambda: …\)"):
        made.new(user_id=None)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgs, match=r"user_id: .*got function\); for what the flush .* pass later\(lambda: …\)"):
        made.new(user_id=lambda: 7)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgs, match=r"got NoneType\); this is stored: .* a job that has failed, or was not"):
        made.worker.load('{"user_id": null}')  # as the result of a job before it, or by the name of the worker alone


def test_what_other_queues_call_it_is_answered_in_the_words_of_this_one() -> None:
    made: Any = job(name="app.send_welcome")(coroutine)
    with pytest.raises(InvalidOption, match=r"unknown option 'countdown' .* did you mean 'schedule_in'\?"):
        made.options(countdown=5)
    with pytest.raises(InvalidOption, match=r"unknown option 'eta' .* did you mean 'scheduled_at'\?"):
        made.options(eta=5)
    with pytest.raises(InvalidOption, match=r"unknown option 'retries' .* did you mean 'max_attempts'\?"):
        cast(Any, job)(retries=3)
    with pytest.raises(InvalidArgs, match=r"no parameter 'countdown', did you mean the option schedule_in: \.options"):
        made.new(7, countdown=5)
    with pytest.raises(InvalidArgs, match=r"no parameter 'expires', did you mean the option deadline: \.options"):
        made.new(7, expires=5)
    with pytest.raises(InvalidArgs, match=r"no parameter 'time_limit', did you mean the option timeout of the worker"):
        made.new(7, time_limit=5)
    for theirs, ours in (
        ("on_success", "hooks"),
        ("lock", "chain"),
        ("job_timeout", "timeout"),
    ):
        with pytest.raises(InvalidOption, match=rf"{theirs}' is called '{ours}' here, and is an option of the worker"):
            made.options(**{theirs: 5})
    for theirs, ours in (
        ("dont_autoretry_for", "discard_"),
        ("max_age", "deadline"),
        ("periodic", "cron"),
        ("queueing_lock", "unique"),
        ("retry_backoff_max", "backoff"),
        ("retry_jitter", "backoff"),
        ("throws", "discard_"),
        ("ttl", "deadline"),
    ):
        with pytest.raises(InvalidOption, match=rf"'{theirs}' for @job: did you mean '{ours}"):
            cast(Any, job)(**{theirs: 5})
    for option in ("rate_limit", "global_limit", "concurrency"):
        for way in (cast(Any, job), made.options):
            with pytest.raises(InvalidOption, match=rf"option '{option}' .*: limits belong to queues; .*Queue\("):
                way(**{option: 5})
    with pytest.raises(InvalidOption, match=r"'countdown' is called 'schedule_in' here, and is an option of one job"):
        cast(Any, job)(countdown=5)
    for way in ("delay", "apply_async", "enqueue"):
        with pytest.raises(
            AttributeError, match=rf"attribute '{way}'; to enqueue a job: session\.add\(send_welcome\.new"
        ):
            getattr(made, way)(7)
    assert not hasattr(made, "_private")
    assert copy.copy(made).worker_name == "app.send_welcome"


# Added to a session itself.


@pytest.mark.parametrize("with_options", [False, True])
def test_worker_that_is_added_to_a_session_says_what_to_add(with_options: bool) -> None:
    made = job(name="app.send_welcome")(coroutine)
    given: Any = made.options(queue="x") if with_options else made
    message = r"session\.add\(send_welcome\): .*add a job of it: session\.add\(send_welcome\.new\(…\)\)"
    with pytest.raises(InvalidOption, match=message):
        Session().add(given)
    with pytest.raises(InvalidOption, match=message):
        Session().add_all([given])


def test_worker_can_still_be_compared_and_looked_at() -> None:
    made = job(name="app.compared")(coroutine)
    assert "worker" in str(select(Job).where(Job.worker == made, Job.worker.in_([made])))
    assert dict(inspect.getmembers(made))["worker_name"] == "app.compared"
    assert create_autospec(made).new(1) is not None


@worker(name="decoration.sends")
class Sends:
    """Has a method that other queues have on every task."""

    sent = 0

    async def process(self, job: Job) -> None: ...

    def send(self) -> int:
        return self.sent


NODE = Oban(create_async_engine("postgresql+asyncpg://"))


@pytest.mark.parametrize(
    ("found", "name", "said"),
    [
        (Sends, "delay", "type object 'Sends' has no attribute 'delay'; to enqueue a job: session.add(Sends.new("),
        (Sends(), "apply_async", "'Sends' object has no attribute 'apply_async'; to enqueue a job: session.add(Sends"),
        (
            JobSpec("w"),
            "get",
            "'JobSpec' object has no attribute 'get'; await oban.result(spec) waits for what the job",
        ),
        (JobSpec("w"), "delay", "'JobSpec' object has no attribute 'delay'; session.add(spec) enqueues it"),
        (NODE, "task", "'Oban' object has no attribute 'task'; the decora"),
        (NODE, "cancel_job", "'Oban' object has no attribute 'cancel_job'; await oban.cancel(…) takes an id"),
        (NODE, "get_job", "'Oban' object has no attribute 'get_job'; await session.get(Job, id) reads one"),
        (
            NODE,
            "get_instance",
            "'Oban' object has no attribute 'get_instance'; use the object that you have made; a job gets that of its",
        ),
        (Oban, "get_instance", "type object 'Oban' has no attribute 'get_instance'; use the object that you have made"),
        (Oban, "create_pool", "type object 'Oban' has no attribute 'create_pool'; Oban(engine) takes an AsyncEngine"),
        (Oban, "insert", "type object 'Oban' has no attribute 'insert'; session.add(fn.new(…)) enqueues in your"),
        (
            Sends,
            "options",
            "type object 'Sends' has no attribute 'options'; its new() takes them: Sends.new(",
        ),
        (Sends, "elsewhere", "type object 'Sends' has no attribute 'elsewhere'"),
    ],
)
def test_what_other_queues_have_is_answered_with_what_there_is_instead(found: object, name: str, said: str) -> None:
    with pytest.raises(AttributeError) as raised:
        getattr(found, name)
    assert str(raised.value).startswith(said)


def test_an_attribute_of_the_users_own_is_left_alone() -> None:
    assert Sends().send() == 0
    assert not hasattr(Sends, "kiq")
    assert "send" not in dir(Oban), "nothing is offered that there is not"
    spec = copy.deepcopy(pickle.loads(pickle.dumps(JobSpec("w", {"a": 1}))))
    assert (spec.args, hasattr(spec, "get"), "get" in dir(spec)) == ({"a": 1}, False, False)
    found = Sends()
    found.kiq = 3  # type: ignore[attr-defined]
    assert found.kiq == 3  # type: ignore[attr-defined]
