"""A function that is a worker: it can be called, and it makes jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, TypeVar, cast

from typing_extensions import Unpack

from ..errors import InvalidOption, refuse_unknown
from ..models import JobSpec
from ..models.kind import OPTIONS, Kind, with_options
from ..models.spec import SpecOptions, WorkerLike
from .worker import Worker

P = ParamSpec("P")
C = ParamSpec("C")
R = TypeVar("R")


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
        return spec_of(self.worker, self.worker, args, kwargs)

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
        return spec_of(self.worker, self, args, kwargs)


def spec_of(worker: Worker, like: WorkerLike, args: tuple[Any, ...], kwargs: dict[str, Any]) -> JobSpec:
    """A spec of `worker`, with the options of `like`."""
    if worker.arguments is not None:
        return JobSpec(like, worker.arguments.bind(args, kwargs))
    if len(args) > 1:
        raise InvalidOption(f"{worker.name}.new(): expected one dict of args, then options by name, got {args!r}")
    refuse_unknown(kwargs, OPTIONS, f"{worker.name}.new()")
    return JobSpec(like, *args, **cast(SpecOptions, kwargs))
