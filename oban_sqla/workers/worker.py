"""Workers: what jobs run. ``@job`` for functions, ``@worker`` for classes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import update_wrapper
from typing import Any, Concatenate, Generic, Literal, ParamSpec, Protocol, TypeVar, cast, overload

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from typing_extensions import Unpack

from ..errors import InvalidOption, refuse_unknown
from ..models import Job, JobSpec
from ..models.checks import check_name, check_names
from ..models.kind import FIELDS, OPTIONS, Kind, kind_of, with_options
from ..models.spec import CommonOptions, SpecOptions, WorkerLike
from ..options.backoff import Backoff, BackoffOption, default_backoff
from ..options.duration import seconds
from .arguments import Arguments
from .cron import Cron
from .hooks import checked_hooks
from .registry import default_name, origin_of, workers

P = ParamSpec("P")
C = ParamSpec("C")
R = TypeVar("R")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Injected = TypeVar("Injected", Job, AsyncSession, Session)

Executor = Literal["auto", "async", "thread", "process"] | str
IN_PROCESS = ("auto", "async", "thread")
"""Executors that every node has; any other name is looked for when the job is to run."""
Seconds = float | timedelta


class WorkerOptions(CommonOptions, total=False):
    """The options of ``@job`` and ``@worker``, which document them."""

    name: str | None
    aliases: Sequence[str]
    timeout: Seconds | None
    deadline: Seconds | None
    backoff: BackoffOption
    cron: str | Cron | None
    recorded: bool
    executor: Executor
    hooks: Sequence[object]


_OF_ITS_SPECS = tuple(name for name, option in OPTIONS.items() if option.of_worker)
WORKER_OPTIONS = tuple({**WorkerOptions.__annotations__, **dict.fromkeys(_OF_ITS_SPECS)})


@dataclass(frozen=True, slots=True)
class Worker:
    """A registered worker, as the runtime sees it."""

    name: str
    aliases: tuple[str, ...]
    origin: str
    target: Callable[..., Any]
    arguments: Arguments | None
    """The parameters of a function; None for a class, whose ``process`` takes the job."""
    spec_kind: Kind
    """What its specs have unless they say otherwise."""
    timeout: float | None
    deadline: float | None
    backoff: BackoffOption
    recorded: bool
    hooks: tuple[object, ...]
    coroutine: bool
    """Whether it is a coroutine function."""
    executor: str
    """Where its jobs run: ``"async"``, on the event loop, ``"thread"``, ``"process"``, or a name of the user's."""
    cron: str | Cron | None = None

    @property
    def worker_name(self) -> str:
        return self.name

    @property
    def is_async(self) -> bool:
        """Whether it runs on an event loop, here or wherever its executor is."""
        return self.coroutine or self.executor == "async"

    @property
    def asks_for_session(self) -> bool:
        """Whether the runtime opens a session for it."""
        injected = {} if self.arguments is None else self.arguments.injected
        return any(issubclass(kind, AsyncSession | Session) for kind in injected.values())

    @property
    def spec_defaults(self) -> Mapping[str, Any]:
        """The options in which its specs differ from those of a worker without any."""
        own = zip(FIELDS, self.spec_kind, kind_of(self.name), strict=True)
        return {name: value for name, value, usual in own if value != usual}

    @property
    def cron_entry(self) -> Cron | None:
        """The entry that it has in the crontab by itself."""
        return None if self.cron is None else Cron.of_worker(self.cron, self)

    def checked_args(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """`args` in the form in which they are stored."""
        return args if self.arguments is None else self.arguments.check(args)

    def check_known(self, args: Mapping[str, Any]) -> None:
        """Check as much of `args` as possible while they contain placeholders of `later`."""
        if self.arguments is not None:
            self.arguments.check_known(args)

    def timeout_for(self, job: Job | None) -> float | None:
        """Seconds that one run may take; None for no limit."""
        own = getattr(self.target, "timeout", None) if self.arguments is None else None
        if not callable(own):
            return self.timeout
        value = own(self.target(), job)
        return None if value is None else seconds(value, f"{self.name}.timeout()")

    def delay_for(self, job: Callable[[], Job], attempt: int, max_attempts: int) -> float:
        """Seconds to wait after `attempt` failed."""
        own = getattr(self.target, "backoff", None) if self.arguments is None else None
        match self.backoff:
            case None if callable(own):
                return seconds(own(self.target(), job()), f"{self.name}.backoff()")
            case None:
                return default_backoff(attempt, max_attempts)
            case Backoff() as backoff:
                return backoff.delay(attempt)
            case int() | float() | timedelta() as fixed:
                return seconds(fixed, f"{self.name}: backoff")
            case function:
                return seconds(function(job()), f"{self.name}: backoff")


class JobFunction(Generic[P, C, R]):
    """A function that can be called, and enqueued: what ``@job`` makes of it."""

    __name__: str

    def __init__(self, fn: Callable[C, R], worker: Worker) -> None:
        self._fn = fn
        self.worker = worker
        update_wrapper(self, fn)

    def __call__(self, *args: C.args, **kwargs: C.kwargs) -> R:
        """Call the function itself, here and now."""
        return self._fn(*args, **kwargs)

    @property
    def worker_name(self) -> str:
        """The name under which its jobs are stored."""
        return self.worker.name

    @property
    def spec_kind(self) -> Kind:
        """The options of its jobs, unless a job has its own."""
        return self.worker.spec_kind

    def checked_args(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """Validate args.

        :param args: the args of a job.
        :returns: the args in the form in which they are stored.
        :raises InvalidArgs: for args that don't fit the function's parameters.
        """
        return self.worker.checked_args(args)

    def check_known(self, args: Mapping[str, Any]) -> None:
        """Validate args of which some are filled in at the flush.

        :param args: the args of a job, with placeholders of :func:`later`.
        :raises InvalidArgs: for args that don't fit the function's parameters.
        """
        self.worker.check_known(args)

    def new(self, *args: P.args, **kwargs: P.kwargs) -> JobSpec:
        """Make a job that calls the function with these arguments. Add it to a session, or enqueue it.

        :param args: the positional arguments of the function, without the parameters that are injected.
        :param kwargs: its keyword arguments.
        :returns: the spec of the job.
        :raises InvalidArgs: for arguments that don't fit the function's parameters, or JSON can't represent.
        """
        return _spec(self.worker, self.worker, args, kwargs)

    def options(self, **options: Unpack[SpecOptions]) -> WithOptions[P]:
        """Change options for one job or some: ``fn.options(queue="slow").new(…)``. The function is not changed.

        :param queue: the name of its queue. Default: the worker's.
        :param priority: 0 (first) to 9 (last). Default: the worker's.
        :param max_attempts: how often it may run before it is discarded, 1 to 32,767. Default: the worker's.
        :param tags: strings for finding it by. Default: the worker's.
        :param meta: a dict that is stored with the job, beside its args. Default: the worker's.
        :param scheduled_at: an aware datetime before which it does not run.
        :param schedule_in: the same as seconds or a timedelta from the flush on, by the database's clock.
        :param unique: which jobs are duplicates, a :class:`Unique`. Default: the worker's.
        :returns: an object whose ``new`` makes jobs with these options.
        :raises InvalidOption: for a misspelt option, or a value that is not valid.
        """
        return WithOptions(self.worker, options)

    def __repr__(self) -> str:
        return f"<job {self.worker.name}>"


class WithOptions(Generic[P]):
    """A worker together with options for its next jobs."""

    def __init__(self, worker: Worker, options: SpecOptions) -> None:
        self.worker = worker
        self.spec_kind = with_options(worker.spec_kind, options, f"{worker.name}.options()")

    @property
    def worker_name(self) -> str:
        """The name under which its jobs are stored."""
        return self.worker.name

    def checked_args(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """Validate args.

        :param args: the args of a job.
        :returns: the args in the form in which they are stored.
        :raises InvalidArgs: for args that don't fit the function's parameters.
        """
        return self.worker.checked_args(args)

    def check_known(self, args: Mapping[str, Any]) -> None:
        """Validate args of which some are filled in at the flush.

        :param args: the args of a job, with placeholders of :func:`later`.
        :raises InvalidArgs: for args that don't fit the function's parameters.
        """
        self.worker.check_known(args)

    def new(self, *args: P.args, **kwargs: P.kwargs) -> JobSpec:
        """Make a job that calls the function with these arguments and runs with the options given before.

        :param args: the positional arguments of the function, without the parameters that are injected.
        :param kwargs: its keyword arguments.
        :returns: the spec of the job.
        :raises InvalidArgs: for arguments that don't fit the function's parameters, or JSON can't represent.
        """
        return _spec(self.worker, self, args, kwargs)


def _spec(worker: Worker, like: WorkerLike, args: tuple[Any, ...], kwargs: dict[str, Any]) -> JobSpec:
    """A spec of `worker`, with the options of `like`."""
    if worker.arguments is not None:
        return JobSpec(like, worker.arguments.bind(args, kwargs))
    if len(args) > 1:
        raise InvalidOption(f"{worker.name}.new(): expected one dict of args, then options by name, got {args!r}")
    refuse_unknown(kwargs, OPTIONS, f"{worker.name}.new()")
    return JobSpec(like, *args, **cast(SpecOptions, kwargs))


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
            "new": staticmethod(lambda *args, **kwargs: _spec(made, made, args, kwargs)),  # pyright: ignore
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
    of_specs = {option: given[option] for option in _OF_ITS_SPECS if option in given}
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
