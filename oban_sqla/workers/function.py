"""A function that is a worker: what ``@job`` makes of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Self, TypeVar

from typing_extensions import TypeVar as TypeVarWithDefault
from typing_extensions import Unpack

from ..errors import InvalidArgs, InvalidOption
from ..models import JobSpec
from ..models._sqlalchemy import NotARow
from ..models.kind import NAMES, Kind, with_options
from ..models.spec import SpecOptions
from .arguments import Arguments
from .injection import marked
from .shape import mark_coroutine, shape
from .signature import signed
from .worker import Worker
from .worker_options import refuse_options

P = ParamSpec("P")
C = ParamSpec("C")
R = TypeVar("R")
V = TypeVarWithDefault("V", default=Any)


class _Enqueueable(NotARow):
    """A worker of which jobs are made, with or without options. Added to a session itself, it says what to add."""

    worker: Worker

    @property
    def worker_name(self) -> str:
        """The name under which its jobs are stored."""
        return self.worker.name

    @property
    def entities(self) -> tuple[str, ...]:
        """The parameters that take instances of mapped classes."""
        return self.worker.entities

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

    if not TYPE_CHECKING:  # what a worker does not have stays an error for type checkers

        def __getattr__(self, name: str) -> Any:
            said = f"{type(self).__name__!r} object has no attribute {name!r}"
            if not name.startswith("_") and "worker" in vars(self):
                fn = self.worker.name.rpartition(".")[2]
                said += f"; to enqueue a job: session.add({fn}.new(…)), or with options: {fn}.options(…).new(…)"
            raise AttributeError(said, name=name, obj=self)

    def _instead(self) -> Exception:
        name = self.worker.name.rpartition(".")[2]
        return InvalidOption(
            f"session.add({name}): expected an object that can be written, got the worker itself; "
            f"add a job of it: session.add({name}.new(…))"
        )


class JobFunction(_Enqueueable, Generic[P, C, R, V]):
    """A function that can be called, and enqueued: what ``@job`` makes of it."""

    __name__: str

    def __init__(self, fn: Callable[C, R], worker: Worker) -> None:
        update_wrapper(self, fn)
        self._fn = fn
        self._marked = marked(fn)
        self.worker = worker
        if shape(fn) == "coroutine":
            mark_coroutine(self)

    def __get__(self, instance: object, owner: type | None = None) -> Self:
        # What binds is a routine to pydoc and the like, which then show the function's signature. It binds to nothing.
        return self

    def __call__(self, *args: C.args, **kwargs: C.kwargs) -> R:
        """Call the function itself, here and now.

        :param args: its positional arguments, the injected ones too.
        :param kwargs: its keyword arguments.
        :returns: what it returns.
        :raises InvalidArgs: if a parameter with the default :func:`injected` is left out.
        """
        if self._marked:
            self._refuse_left_out(args, kwargs)
        return self._fn(*args, **kwargs)

    @property
    def spec_kind(self) -> Kind:
        """The options of its jobs, unless a job has its own."""
        return self.worker.spec_kind

    @signed
    def new(self, *args: P.args, **kwargs: P.kwargs) -> JobSpec[V]:
        """Make a job that calls the function with these arguments. Add it to a session, or enqueue it.

        :param args: the positional arguments of the function, without the parameters that are injected.
        :param kwargs: its keyword arguments.
        :returns: the spec of the job.
        :raises InvalidArgs: for arguments that don't fit the function's parameters, or JSON can't represent.
        """
        return JobSpec(self.worker, _arguments(self.worker).bind(args, kwargs))

    def options(self, **options: Unpack[SpecOptions]) -> WithOptions[P, V]:
        """Change options for one job or some: ``fn.options(queue="slow").new(…)``. The function is not changed.

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
        :returns: an object whose ``new`` makes jobs with these options.
        :raises InvalidOption: for a misspelt option, or a value that is not valid.
        """
        return WithOptions(self.worker, options)

    def _refuse_left_out(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        try:
            given = inspect.signature(self._fn).bind_partial(*args, **kwargs).arguments
        except TypeError:
            return  # the call itself says it better
        for name in self._marked:
            if name not in given:
                raise InvalidArgs(
                    f"{self.__name__}(): {name!r} is filled in when it runs as a job; give it in a direct call"
                )

    def __repr__(self) -> str:
        return f"<job {self.worker.name}>"


class WithOptions(_Enqueueable, Generic[P, V]):
    """A worker together with options for its next jobs."""

    def __init__(self, worker: Worker, options: SpecOptions) -> None:
        what = f"{worker.name}.options()"
        refuse_options(options, NAMES, what)
        self.worker = worker
        self.spec_kind = with_options(worker.spec_kind, options, what)
        worker.refuse_unique(self.spec_kind)

    @signed
    def new(self, *args: P.args, **kwargs: P.kwargs) -> JobSpec[V]:
        """Make a job that calls the function with these arguments and runs with the options given before.

        :param args: the positional arguments of the function, without the parameters that are injected.
        :param kwargs: its keyword arguments.
        :returns: the spec of the job.
        :raises InvalidArgs: for arguments that don't fit the function's parameters, or JSON can't represent.
        """
        return JobSpec(self, _arguments(self.worker).bind(args, kwargs))


def _arguments(worker: Worker) -> Arguments:
    assert worker.arguments is not None  # it is a function's
    return worker.arguments
