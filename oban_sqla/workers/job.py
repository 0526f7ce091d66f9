"""``@job``: functions as workers."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from typing_extensions import Unpack

from ..errors import InvalidOption
from ..models import Job
from ..options.chunk import Chunk
from ..types import ByAnnotation
from .arguments import Arguments
from .chunked import ChunkArguments, ChunkFunction
from .function import JobFunction
from .register import register
from .registry import workers
from .returned import Returned
from .worker_options import WORKER_OPTIONS, ChunkOptions, WorkerOptions, refuse_options

P = ParamSpec("P")
R = TypeVar("R")
V = TypeVar("V")
In1 = TypeVar("In1", bound=Job | ByAnnotation | AsyncSession | Session)
In2 = TypeVar("In2", bound=Job | ByAnnotation | AsyncSession | Session)

_Async = Coroutine[Any, Any, V]
_One = JobFunction[P, Concatenate[In1, P], R, V]
_Both = JobFunction[P, Concatenate[In1, In2, P], R, V]


class _Untyped:
    """Only a parameter without a type takes it; type checkers would take that for an injected one."""


class _ChunkDecorator(Protocol):
    def __call__(
        self, fn: Callable[Concatenate[list[Job], P], R], /
    ) -> ChunkFunction[Concatenate[list[Job], P], R]: ...


class _Decorator(Protocol):
    @overload
    def __call__(self, fn: Callable[Concatenate[_Untyped, P], R], /) -> JobFunction[..., ..., R, Any]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[In1, _Untyped, P], R], /) -> JobFunction[..., ..., R, Any]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[In1, In2, P], _Async[V]], /) -> _Both[P, In1, In2, _Async[V], V]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[In1, In2, P], V], /) -> _Both[P, In1, In2, V, V]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[In1, P], _Async[V]], /) -> _One[P, In1, _Async[V], V]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[In1, P], V], /) -> _One[P, In1, V, V]: ...
    @overload
    def __call__(self, fn: Callable[P, _Async[V]], /) -> JobFunction[P, P, _Async[V], V]: ...
    @overload
    def __call__(self, fn: Callable[P, V], /) -> JobFunction[P, P, V, V]: ...


@overload
def job(fn: Callable[Concatenate[_Untyped, P], R], /) -> JobFunction[..., ..., R, Any]: ...
@overload
def job(fn: Callable[Concatenate[In1, _Untyped, P], R], /) -> JobFunction[..., ..., R, Any]: ...
@overload
def job(fn: Callable[Concatenate[In1, In2, P], _Async[V]], /) -> _Both[P, In1, In2, _Async[V], V]: ...
@overload
def job(fn: Callable[Concatenate[In1, In2, P], V], /) -> _Both[P, In1, In2, V, V]: ...
@overload
def job(fn: Callable[Concatenate[In1, P], _Async[V]], /) -> _One[P, In1, _Async[V], V]: ...
@overload
def job(fn: Callable[Concatenate[In1, P], V], /) -> _One[P, In1, V, V]: ...
@overload
def job(fn: Callable[P, _Async[V]], /) -> JobFunction[P, P, _Async[V], V]: ...
@overload
def job(fn: Callable[P, V], /) -> JobFunction[P, P, V, V]: ...
@overload
def job(*, chunk: Chunk, **options: Unpack[WorkerOptions]) -> _ChunkDecorator: ...
@overload
def job(**options: Unpack[WorkerOptions]) -> _Decorator: ...


def job(fn: Callable[..., Any] | None = None, /, **options: Unpack[ChunkOptions]) -> Any:
    """Make a function a worker. It can still be called; ``fn.new(…)`` makes a job of it.

    ::

        @job(queue="mail", max_attempts=5)
        async def send_welcome(user_id: int, greeting: str = "Hello") -> None: ...

    A coroutine function runs on the event loop, a plain one in a thread. The runtime injects parameters annotated
    ``Job``, ``Oban``, ``AsyncSession`` or ``Session``, or a subclass of these sessions. Put up to two such parameters
    first, or give them the default :func:`injected`, and type checkers leave them out of ``.new()``. With this default,
    any other type that ``Oban(resources=…)`` provides is injected. A session's commit also completes the job: its
    effects happen exactly once.

    A parameter annotated with a mapped class takes its instances, also in lists, tuples, dicts and optional: the job
    keeps their primary keys, and they are loaded before the function is called, in the job's session if it has one.
    ``Annotated[Order, selectinload(Order.lines)]`` gives loader options.

    :param fn: the function, if the decorator is used without parentheses.
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
    :param upcast: a function that gets every stored dict of args before it is validated, those of new jobs as well,
        and returns the dict that fits the function now. Default: none.
    :param retry_for: exceptions after which a job is tried again; any other one that it raises discards it. One class
        or several. Default: all.
    :param discard_for: exceptions that discard a job at once, also where `retry_for` has them. Default: none.
    :param missing: what becomes of a job when the row of an argument is gone: ``"cancel"``, ``"discard"`` or
        ``"retry"``. Default ``"cancel"``.
    :param encrypted: store its arguments, and what its jobs record, encrypted with the keys of :class:`Encryption`;
        ``job.args`` stays encrypted, and errors are stored and logged without their messages. Default False.
    :param chunk: how many jobs run in one call, a :class:`Chunk`. The function takes the list of them, and can return
        an outcome for each: ``async def deliver(jobs: list[Job]) -> Mapping[Job, object] | None``; a job that the
        mapping does not name is completed. Its jobs are made by ``deliver.new({…}, **options)``. Default: one job, one
        call.
    :param chain: which jobs run one after the other, a :class:`Chain`. Default: none.
    :returns: the worker: callable like the function, with ``new`` and ``options``.
    :raises InvalidOption: for a misspelt option, or a value that is not valid.
    :raises WorkerConflict: if another function has the name.
    """
    if fn is not None:
        return _worker_of(fn, {})
    refuse_options(options, WORKER_OPTIONS, "@job")

    def decorate(decorated: Callable[..., Any]) -> JobFunction[..., ..., Any]:
        return _worker_of(decorated, options)

    return decorate


def _worker_of(fn: Callable[..., Any], options: ChunkOptions) -> JobFunction[..., ..., Any]:
    if isinstance(fn, type):
        raise InvalidOption(
            f"@job {fn.__qualname__}: a class becomes a worker by @worker, with a method process(self, job)"
        )
    if not callable(fn) or not hasattr(fn, "__qualname__"):
        raise InvalidOption(f"@job: expected a function, got {fn!r}; options are given by name: @job(queue=…)")
    if _is_method(fn):
        raise InvalidOption(
            f"@job {fn.__qualname__}: a method needs its object, which no job has; write a function, or a class with "
            "@worker and a method process(self, job)"
        )
    made: JobFunction[..., ..., Any]
    if options.get("chunk") is not None:
        for_jobs = ChunkArguments(fn, WORKER_OPTIONS)
        for_jobs.check_early()
        made = ChunkFunction(fn, register(fn, for_jobs, options, fn))
    else:
        arguments = Arguments(fn, WORKER_OPTIONS)
        arguments.check_early()
        if options.get("recorded"):
            # One for this moment: a name that is not known yet would stay so in what is kept.
            Returned(fn).check_early()
        made = JobFunction(fn, register(fn, arguments, options, fn))
    workers.made(made.worker, made)
    return made


def _is_method(fn: Callable[..., Any]) -> bool:
    """Whether `fn` was defined in the body of a class, for its objects."""
    _, _, owner = fn.__qualname__.rpartition(".")[0].rpartition(".")
    if owner in ("", "<locals>") or isinstance(fn, types.MethodType | staticmethod):
        return False
    return next(iter(inspect.signature(fn).parameters), "") in ("self", "cls")
