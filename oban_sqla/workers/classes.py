"""Classes as workers: ``@worker``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Protocol, TypeVar, cast, overload

from typing_extensions import Unpack

from ..errors import InvalidOption, NotAWorker, misfit
from ..models import JobSpec
from ..models.kind import NAMES, Kind
from ..models.spec import SpecOptions, option_parameters
from ..options.backoff import Backoff
from ..options.foreign import ENQUEUE, Lacking
from ..options.unique import Unique
from .injection import marked
from .register import register
from .shape import check_plain, hidden, shape
from .worker import Worker
from .worker_options import WORKER_OPTIONS, ChunkOptions, WorkerOptions, refuse_options

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class WorkerClass(Protocol[T_co]):
    """What ``@worker`` adds to a class."""

    worker: Worker
    worker_name: str
    spec_kind: Kind
    entities: tuple[str, ...]

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
        :param weight: how many starts it counts as in the rate limits of its queue, 1 to 1,000,000. Default: the
            worker's.
        :param scheduled_at: an aware datetime before which it does not run.
        :param schedule_in: the same as seconds or a timedelta from the flush on, by the database's clock.
        :param deadline: seconds or a timedelta after its scheduled time: if it has not started by then it is cancelled.
            Default: the worker's.
        :param unique: which jobs are duplicates, a :class:`Unique`. Default: the worker's.
        :returns: the spec of the job.
        :raises InvalidOption: for a misspelt option, or a value that is not valid.
        :raises InvalidArgs: for args or meta that JSON can't represent.
        """
        ...


@overload
def worker(decorated: type[T], /) -> WorkerClass[T]: ...
@overload
def worker(**options: Unpack[WorkerOptions]) -> Callable[[type[T]], WorkerClass[T]]: ...


def worker(decorated: type[Any] | None = None, /, **options: Unpack[WorkerOptions]) -> Any:
    """Make a class a worker: its method ``process(self, job)``, coroutine or not, runs the jobs.

    ::

        @worker(queue="reports")
        class BuildReport:
            async def process(self, job: Job) -> None: ...

        session.add(BuildReport.new({"id": 1}, schedule_in=60))

    The class is instantiated without arguments for each run. Its optional methods ``backoff(self, job)`` and
    ``timeout(self, job)`` return seconds or a timedelta; ``backoff`` may return a :class:`Backoff`, too, and take the
    exception: ``backoff(self, job, error)``. mypy learns of ``new`` from the plugin ``oban_sqla.mypy``.

    :param decorated: the class, if the decorator is used without parentheses.
    :param name: the name under which its jobs are stored. Default: ``module.qualname``.
    :param aliases: former names; the worker also runs jobs stored under these. Default: none.
    :param queue: the name of its queue. Default ``"default"``.
    :param priority: 0 (first) to 9 (last). Default 0.
    :param max_attempts: how often a job may run before it is discarded, 1 to 32,767. Default 20.
    :param tags: strings for finding its jobs by. Default: none.
    :param meta: a dict that is stored with each job, beside its args. Default: none.
    :param weight: how many starts a job counts as in the rate limits of its queue, 1 to 1,000,000; kept in its meta.
        Default 1.
    :param unique: which jobs are duplicates, a :class:`Unique`. Default: none are.
    :param timeout: seconds or a timedelta that one run may take. Then a coroutine is cancelled; a thread can ask
        :func:`cancelled`, and its result is refused. The run counts as failed. Default: no limit.
    :param deadline: seconds or a timedelta after the job's scheduled time: a job that has not started by then is
        cancelled. Default: none.
    :param backoff: the wait before the next attempt: a :class:`Backoff`, seconds, a timedelta, or a function that takes
        the job, or the job and the exception, and returns one of these. Default: Oban's, ``15 + 2**attempt`` seconds.
    :param cron: an expression, or a :class:`Cron` without a job for its options: a job without arguments is enqueued at
        these times, once in the cluster. Default: none.
    :param recorded: keep the value that it returns, as :class:`Record` does. Default False.
    :param executor: where its jobs run. ``"auto"`` (default): coroutines on the event loop, plain functions in threads.
        ``"async"``: on the event loop, where a plain function must not block. ``"thread"``: also needed by a decorated
        coroutine or generator function whose decorator runs it to its end. ``"process"``: in a child process of the
        node, see :class:`Processes`. Any other name: one of ``Oban(executors=…)``.
    :param hooks: objects with ``before(job)`` or ``after(job, state, error)``, called around every run; see
        :class:`Hook`. Default: none.
    :param upcast: for functions only: ``process`` reads ``job.args`` itself.
    :param retry_for: exceptions after which a job is tried again; any other one that it raises discards it. One class
        or several. Default: all.
    :param discard_for: exceptions that discard a job at once, also where `retry_for` has them. Default: none.
    :param missing: for functions only: ``process`` loads what it needs itself.
    :param encrypted: for functions only: ``process`` reads ``job.args`` itself, which stays encrypted.
    :param chain: which jobs run one after the other, a :class:`Chain`. Default: none.
    :returns: a decorator; the class gets a method ``new``.
    :raises InvalidOption: for a misspelt option, a value that is not valid, or a class without ``process``.
    :raises WorkerConflict: if another class has the name.
    """
    if decorated is not None:
        return _worker_of(decorated, {})
    refuse_options(options, WORKER_OPTIONS, "@worker")

    def decorate(cls: type[T]) -> WorkerClass[T]:
        return _worker_of(cls, options)

    return decorate


def _worker_of(cls: type[T], options: WorkerOptions) -> WorkerClass[T]:
    if not isinstance(cls, type):
        raise InvalidOption(f"@worker: expected a class, got {cls!r}; a function becomes a worker by @job")
    process = getattr(cls, "process", None)
    if not callable(process):
        raise InvalidOption(f"@worker {cls.__qualname__}: it has no method process(self, job); add one")
    _check_process(cls, process)
    _check_attributes(cls, options)
    made = register(cls, None, cast(ChunkOptions, options), process)
    for name, value in {
        "worker": made,
        "worker_name": _Own("worker_name", made.name),
        "spec_kind": _Own("spec_kind", made.spec_kind),
        "entities": (),
        "checked_args": staticmethod(made.checked_args),
        "check_known": staticmethod(made.check_known),
        "new": _Own("new", _new_of(cls, made)),
    }.items():
        setattr(cls, name, value)
    lacking = {
        **dict.fromkeys(ENQUEUE, f"to enqueue a job: session.add({cls.__name__}.new({{…}}, …))"),
        "options": f"its new() takes them: {cls.__name__}.new({{…}}, queue=…)",
    }
    for name, instead in lacking.items():
        if not hasattr(cls, name):
            setattr(cls, name, Lacking(name, instead))
    return cast(WorkerClass[T], cls)


def _check_process(cls: type[Any], process: Callable[..., Any]) -> None:
    """Refuse a class that can't be made, and a method that can't be called, as it is done for each run."""
    _check_call(cls, (), f"@worker {cls.__qualname__}: it is made without arguments for each run")
    if {shape(process), hidden(process)} <= {"plain", "coroutine"}:  # of others there is more to be said
        is_bound = isinstance(inspect.getattr_static(cls, "process"), staticmethod | classmethod)
        given = ("job",) if is_bound else ("self", "job")
        _check_call(process, given, f"@worker {cls.__qualname__}: its method is called as process(self, job)")
    if found := marked(process):
        raise InvalidOption(
            f"@worker {cls.__qualname__}: {found[0]} is marked injected(), and process(self, job) gets the job only; "
            "write a function with @job for what the runtime fills in"
        )


def _check_attributes(cls: type[Any], options: WorkerOptions) -> None:
    """Refuse an attribute that was meant for an option, and an optional method that can't be called."""
    for name, kinds in _NOT_ATTRIBUTES.items():
        own: object = getattr(cls, name, None)
        if name not in options and isinstance(own, kinds):
            raise InvalidOption(
                f"@worker {cls.__qualname__}: an attribute {name} = {own!r} changes nothing; give it to the decorator: "
                f"@worker({name}={own!r})"
            )
    for name in ("backoff", "timeout"):
        if callable(own := getattr(cls, name, None)):
            check_plain(own, f"@worker {cls.__qualname__}.{name}")
            if name == "backoff" and misfit(own, "self", "job", "exception") is None:
                continue
            _check_call(own, ("self", "job"), f"@worker {cls.__qualname__}: its method is called as {name}(self, job)")


def _new_of(cls: type[Any], made: Worker) -> Callable[..., JobSpec]:
    """The ``new`` of a class, see :class:`WorkerClass`."""

    def new(args: Mapping[str, Any] | None = None, /, *more: Any, **options: Unpack[SpecOptions]) -> JobSpec:
        if more:
            raise InvalidOption(f"{made.name}.new(): expected one dict of args, then options by name, got {more!r} too")
        refuse_options(options, NAMES, f"{made.name}.new()")
        return JobSpec(made, args, **options)

    new.__doc__ = inspect.getdoc(_NEW)
    new.__qualname__ = f"{cls.__qualname__}.new"
    new.__module__ = cls.__module__
    # For inspect.signature and editors; a function takes any attribute, of which its type says nothing.
    new.__signature__ = _SIGNATURE  # type: ignore[attr-defined]
    return new


class _Own:
    """An attribute that subclasses do not inherit: by it they would enqueue jobs that the class above runs."""

    def __init__(self, name: str, value: object) -> None:
        self._name = name
        self._value = value

    def __get__(self, instance: object, owner: type[Any]) -> object:
        if vars(owner).get(self._name) is not self:
            raise NotAWorker(
                f"{owner.__qualname__} is not a worker: it inherits from one, which would run its jobs; "
                f"decorate it too: @worker class {owner.__name__}"
            )
        return self._value


def _check_call(called: Any, given: tuple[object, ...], what: str) -> None:
    if (why := misfit(called, *given)) is not None:
        raise InvalidOption(f"{what}, and that does not fit: {why}")


_NOT_ATTRIBUTES: dict[str, tuple[type, ...]] = {
    "queue": (str,),
    "max_attempts": (int,),
    "priority": (int,),
    "timeout": (int, float, timedelta),
    "backoff": (int, float, timedelta, Backoff),
    "unique": (Unique,),
}
"""What other queues read from a class. Only of these types: a class may have attributes with these names for itself."""

_NEW: Callable[..., Any] = WorkerClass[Any].new


def _signature() -> inspect.Signature:
    """The signature of a class's ``new``, with its options by name."""
    _, args, _ = inspect.signature(_NEW).parameters.values()
    return inspect.Signature([args, *option_parameters()], return_annotation=JobSpec)


_SIGNATURE = _signature()
