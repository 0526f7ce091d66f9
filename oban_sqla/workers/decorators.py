"""``@job`` and ``@worker``: how functions and classes become workers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast, overload

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from typing_extensions import Unpack

from ..errors import InvalidOption, refuse_unknown
from ..models import Job, JobSpec
from ..models.checks import check_name, check_names
from ..models.kind import Kind, kind_of, with_options
from ..models.spec import SpecOptions
from ..options.backoff import Backoff, BackoffOption
from ..options.duration import seconds
from .arguments import Arguments
from .function import JobFunction, spec_of
from .hooks import checked_hooks
from .registry import default_name, origin_of, workers
from .worker import OPTIONS_OF_SPECS, WORKER_OPTIONS, Worker, WorkerOptions

P = ParamSpec("P")
C = ParamSpec("C")
R = TypeVar("R")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Injected = TypeVar("Injected", Job, AsyncSession, Session)


class WorkerClass(Protocol[T_co]):
    """What ``@worker`` adds to a class."""

    worker: Worker
    worker_name: str
    spec_kind: Kind

    def __call__(self) -> T_co: ...

    def checked_args(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """Validate args.

        :param args: the args of a job.
        :returns: the args in the form in which they are stored.
        """
        ...

    def check_known(self, args: Mapping[str, Any]) -> None:
        """Validate args of which some are filled in at the flush.

        :param args: the args of a job, with placeholders of :func:`later`.
        """
        ...

    def new(self, args: Mapping[str, Any] | None = None, /, **options: Unpack[SpecOptions]) -> JobSpec:
        """Make a job that the class's ``process`` runs.

        :param args: a dict that JSON can represent. Default: empty.
        :param queue: the name of its queue. Default: the worker's.
        :param priority: 0 (first) to 9 (last). Default: the worker's.
        :param max_attempts: how often it may run before it is discarded, 1 to 32,767. Default: the worker's.
        :param tags: strings for finding it by. Default: the worker's.
        :param meta: a dict that is stored with the job, beside its args. Default: the worker's.
        :param scheduled_at: an aware datetime before which it does not run.
        :param schedule_in: the same as seconds or a timedelta from the flush on, by the database's clock.
        :param unique: which jobs are duplicates, a :class:`Unique`. Default: the worker's.
        :returns: the spec of the job.
        :raises InvalidOption: for a misspelt option, or a value that is not valid.
        :raises InvalidArgs: for args or meta that JSON can't represent.
        """
        ...


class _JobDecorator(Protocol):
    @overload
    def __call__(self, fn: Callable[Concatenate[Injected, P], R], /) -> JobFunction[P, Concatenate[Injected, P], R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> JobFunction[P, P, R]: ...


@overload
def job(fn: Callable[Concatenate[Injected, P], R], /) -> JobFunction[P, Concatenate[Injected, P], R]: ...
@overload
def job(fn: Callable[P, R], /) -> JobFunction[P, P, R]: ...
@overload
def job(**options: Unpack[WorkerOptions]) -> _JobDecorator: ...


def job(fn: Callable[..., Any] | None = None, /, **options: Unpack[WorkerOptions]) -> Any:
    """Make a function a worker. It can still be called; ``fn.new(…)`` makes a job of it.

    ::

        @job(queue="mail", max_attempts=5)
        async def send_welcome(user_id: int, greeting: str = "Hello") -> None: ...

    A coroutine function runs on the event loop, a plain one in a thread. The runtime injects parameters annotated
    ``Job``, ``AsyncSession`` or ``Session``. Put such a parameter first, and type checkers leave it out of ``.new()``.
    A session's commit also completes the job: its effects happen exactly once.

    :param fn: the function, if the decorator is used without parentheses.
    :param name: the name under which its jobs are stored. Default: ``module.qualname``.
    :param aliases: former names; the worker also runs jobs stored under these. Default: none.
    :param queue: the name of its queue. Default ``"default"``.
    :param priority: 0 (first) to 9 (last). Default 0.
    :param max_attempts: how often a job may run before it is discarded, 1 to 32,767. Default 20.
    :param tags: strings for finding its jobs by. Default: none.
    :param meta: a dict that is stored with each job, beside its args. Default: none.
    :param unique: which jobs are duplicates, a :class:`Unique`. Default: none are.
    :param timeout: seconds or a timedelta that one run may take. Then a coroutine is cancelled; a thread can ask
        :func:`cancelled`, and its result is refused. The run counts as failed. Default: no limit.
    :param deadline: seconds or a timedelta after the job's scheduled time: a job that has not started by then is
        cancelled. Default: none.
    :param backoff: the wait before the next attempt: a :class:`Backoff`, seconds, a timedelta, or a function that takes
        the job and returns seconds or a timedelta. Default: Oban's, ``15 + 2**attempt`` seconds.
    :param cron: an expression, or a :class:`Cron` without a job for its options: a job without arguments is enqueued at
        these times, once in the cluster. Default: none.
    :param recorded: keep the value that it returns, as :class:`Record` does. Default False.
    :param executor: ``"auto"`` (default): coroutines on the event loop, plain functions in threads; ``"async"`` or
        ``"thread"``. With ``"async"`` a plain function runs on the event loop, where it must not block.
    :param hooks: objects with ``before(job)`` or ``after(job, state, error)``, called around every run; see
        :class:`Hook`. Default: none.
    :returns: the worker: callable like the function, with ``new`` and ``options``.
    :raises InvalidOption: for a misspelt option, or a value that is not valid.
    :raises WorkerConflict: if another function has the name.
    """
    if fn is not None:
        return _function_worker(fn, {})
    refuse_unknown(options, WORKER_OPTIONS, "@job")

    def decorate(decorated: Callable[..., Any]) -> JobFunction[..., ..., Any]:
        return _function_worker(decorated, options)

    return decorate


def worker(**options: Unpack[WorkerOptions]) -> Callable[[type[T]], WorkerClass[T]]:
    """Make a class a worker: its method ``process(self, job)``, coroutine or not, runs the jobs.

    ::

        @worker(queue="reports")
        class BuildReport:
            async def process(self, job: Job) -> None: ...

        session.add(BuildReport.new({"id": 1}, schedule_in=60))

    The class is instantiated without arguments for each run. Its optional methods ``backoff(self, job)`` and
    ``timeout(self, job)`` return seconds or a timedelta.

    :param name: the name under which its jobs are stored. Default: ``module.qualname``.
    :param aliases: former names; the worker also runs jobs stored under these. Default: none.
    :param queue: the name of its queue. Default ``"default"``.
    :param priority: 0 (first) to 9 (last). Default 0.
    :param max_attempts: how often a job may run before it is discarded, 1 to 32,767. Default 20.
    :param tags: strings for finding its jobs by. Default: none.
    :param meta: a dict that is stored with each job, beside its args. Default: none.
    :param unique: which jobs are duplicates, a :class:`Unique`. Default: none are.
    :param timeout: seconds or a timedelta that one run may take. Then a coroutine is cancelled; a thread can ask
        :func:`cancelled`, and its result is refused. The run counts as failed. Default: no limit.
    :param deadline: seconds or a timedelta after the job's scheduled time: a job that has not started by then is
        cancelled. Default: none.
    :param backoff: the wait before the next attempt: a :class:`Backoff`, seconds, a timedelta, or a function that takes
        the job and returns seconds or a timedelta. Default: Oban's, ``15 + 2**attempt`` seconds.
    :param cron: an expression, or a :class:`Cron` without a job for its options: a job without arguments is enqueued at
        these times, once in the cluster. Default: none.
    :param recorded: keep the value that it returns, as :class:`Record` does. Default False.
    :param executor: ``"auto"`` (default): coroutines on the event loop, plain functions in threads; ``"async"`` or
        ``"thread"``. With ``"async"`` a plain function runs on the event loop, where it must not block.
    :param hooks: objects with ``before(job)`` or ``after(job, state, error)``, called around every run; see
        :class:`Hook`. Default: none.
    :returns: a decorator; the class gets a method ``new``.
    :raises InvalidOption: for a misspelt option, a value that is not valid, or a class without ``process``.
    :raises WorkerConflict: if another class has the name.
    """
    refuse_unknown(options, WORKER_OPTIONS, "@worker")

    def decorate(cls: type[T]) -> WorkerClass[T]:
        process = getattr(cls, "process", None)
        if not callable(process):
            raise InvalidOption(f"@worker {cls.__qualname__}: it has no method process(self, job); add one")
        made = _register(cls, None, options, inspect.iscoroutinefunction(process))
        for name, value in {
            "worker": made,
            "worker_name": made.name,
            "spec_kind": made.spec_kind,
            "checked_args": staticmethod(made.checked_args),
            "check_known": staticmethod(made.check_known),
            "new": staticmethod(lambda *args, **kwargs: spec_of(made, made, args, kwargs)),  # pyright: ignore
        }.items():
            setattr(cls, name, value)
        return cast(WorkerClass[T], cls)

    return decorate


def _function_worker(fn: Callable[..., Any], options: WorkerOptions) -> JobFunction[..., ..., Any]:
    if not callable(fn) or not hasattr(fn, "__qualname__"):
        raise InvalidOption(f"@job: expected a function, got {fn!r}; options are given by name: @job(queue=…)")
    if inspect.isasyncgenfunction(fn) or inspect.isgeneratorfunction(fn):
        raise InvalidOption(f"@job {fn.__qualname__}: a generator can't be a job; write a function that returns")
    arguments = Arguments(fn, (Job, AsyncSession, Session), WorkerOptions.__annotations__)
    return JobFunction(fn, _register(fn, arguments, options, inspect.iscoroutinefunction(fn)))


def _register(target: Any, arguments: Arguments | None, options: WorkerOptions, coroutine: bool) -> Worker:
    name = options.get("name")
    name = default_name(target) if name is None else check_name("name", name)
    what = f"worker {name!r}"
    executor = options.get("executor", "auto")
    check_name(f"{what}: executor", executor)
    if executor == "thread" and coroutine:
        raise InvalidOption(f"{what}: a coroutine function runs on the event loop, not in a thread; remove executor=")
    if not isinstance(recorded := options.get("recorded", False), bool):
        raise InvalidOption(f"{what}: recorded must be True or False, got {recorded!r}")
    given: Mapping[str, Any] = cast(Any, options)
    of_specs = {option: given[option] for option in OPTIONS_OF_SPECS if option in given}
    made = Worker(
        name=name,
        aliases=check_names("aliases", options.get("aliases", ())),
        origin=origin_of(target),
        target=target,
        arguments=arguments,
        spec_kind=with_options(kind_of(name), of_specs, what),
        timeout=_limit(options.get("timeout"), f"{what}: timeout"),
        deadline=_limit(options.get("deadline"), f"{what}: deadline"),
        backoff=_checked_backoff(options.get("backoff"), f"{what}: backoff"),
        recorded=recorded,
        hooks=checked_hooks(options.get("hooks"), what),
        coroutine=coroutine,
        executor=_in_process(coroutine) if executor == "auto" else executor,
        cron=options.get("cron"),
    )
    _ = made.cron_entry  # checked while the decorator is on the traceback
    workers.add(made)
    return made


def _in_process(coroutine: bool) -> str:
    return "async" if coroutine else "thread"


def _limit(value: object, what: str) -> float | None:
    limit = None if value is None else seconds(value, what)
    if limit == 0:
        raise InvalidOption(f"{what}: expected more than 0 seconds, or None for no limit, got {value!r}")
    return limit


def _checked_backoff(backoff: BackoffOption, what: str) -> BackoffOption:
    if not (backoff is None or callable(backoff) or isinstance(backoff, Backoff)):
        seconds(backoff, what)
    return backoff
