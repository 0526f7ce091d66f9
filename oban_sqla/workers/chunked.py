"""Functions that take many jobs at once: ``@job(chunk=Chunk(…))``."""

from __future__ import annotations

import collections.abc
import inspect
import json
import typing
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ParamSpec, TypeVar

from typing_extensions import Unpack

from ..errors import InvalidOption
from ..models import Job, JobSpec
from ..models.fit import UNKNOWN
from ..models.kind import NAMES
from ..models.spec import SpecOptions
from ..options.later import has_later
from ..options.resources import plain
from .arguments import Arguments
from .function import JobFunction, WithOptions
from .outcomes import Outcome
from .returned import Returned, members
from .worker_options import refuse_options

C = ParamSpec("C")
R = TypeVar("R")

_LISTS = (list, collections.abc.Sequence, collections.abc.Collection, collections.abc.Iterable)


class ChunkArguments(Arguments):
    """The parameters of a function that takes a list of jobs. The args of its jobs are any dict: it reads them itself.

    :raises InvalidOption: as :class:`Arguments` does.
    """

    @cached_property
    def jobs_parameter(self) -> str:
        """The parameter that takes the jobs.

        :raises InvalidOption: where there is not exactly one that can.
        """
        names = [name for name in self._parameters if name not in self.injected]
        kind = self._hints[names[0]] if len(names) == 1 else None
        if kind is not Any and kind is not list and not is_jobs(kind):
            raise InvalidOption(
                f"{self._name}({self.described}): with chunk= it takes the list of its jobs, beside what the runtime "
                f"fills in: async def {self._name}(jobs: list[Job]) -> Mapping[Job, object] | None"
            )
        return names[0]

    def _read_hints(self) -> dict[str, tuple[Any, bool]]:
        return {}

    @property
    def takes_jobs(self) -> bool:
        return True

    def check(self, args: Mapping[str, Any]) -> dict[str, Any]:
        return dict(args)

    def check_known(self, args: Mapping[str, Any]) -> None:
        """Accept anything: nothing is known of the args of these jobs."""

    def load_json(self, args: str, given: Sequence[object] = ()) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(args)
        return found

    def prepare(self) -> None:
        _ = self.jobs_parameter

    def check_early(self) -> None:
        super().check_early()
        if "injected" in vars(self):
            self.prepare()

    @cached_property
    def returned(self) -> Returned:
        return _OfOneJob(self._fn)

    @cached_property
    def signature(self) -> inspect.Signature:
        return inspect.Signature([inspect.Parameter("args", inspect.Parameter.VAR_KEYWORD)], return_annotation=JobSpec)

    @property
    def json_schema(self) -> dict[str, Any] | None:
        return None


class _OfOneJob(Returned):
    """What a function that returns a mapping of its jobs declares for each of them."""

    @cached_property
    def _declared(self) -> Any:
        values = [typing.get_args(kind)[1] for kind in members(super()._declared) if len(typing.get_args(kind)) == 2]
        kept = [kind for value in values for kind in members(value) if not _is_error(kind)]
        if not values:
            return UNKNOWN
        return typing.Union[tuple(kept)] if kept else None  # noqa: UP007 (of any number)


def _is_error(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseException) and not issubclass(kind, Outcome)


def is_jobs(kind: object) -> bool:
    """Whether it is the type of a list of jobs."""
    of = plain(kind)
    origin: Any = typing.get_origin(of)
    return origin in _LISTS and typing.get_args(of) == (Job,)


class ChunkFunction(JobFunction[..., C, R, Any]):
    """A function that can be called with a list of jobs, and enqueued: what ``@job(chunk=…)`` makes of it."""

    # The args of a job are none of the function's parameters, so they are given as a dict.
    def new(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, args: Mapping[str, Any] | None = None, /, **options: Unpack[SpecOptions]
    ) -> JobSpec[Any]:
        """Make a job of the function. Add it to a session, or enqueue it.

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
        refuse_options(options, NAMES, f"{self.worker.name}.new()")
        return JobSpec(self.worker, _checked(args, self.worker.name), **options)

    def options(self, **options: Unpack[SpecOptions]) -> ChunkWithOptions:
        """Change options for one job or some: ``fn.options(queue="slow").new({…})``. The function is not changed.

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
        return ChunkWithOptions(self.worker, options)


class ChunkWithOptions(WithOptions[..., Any]):
    """A worker that takes many jobs at once, together with options for its next jobs."""

    def new(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, args: Mapping[str, Any] | None = None, /
    ) -> JobSpec[Any]:
        """Make a job of the function that runs with the options given before.

        :param args: a dict that JSON can represent. Default: empty.
        :returns: the spec of the job.
        :raises InvalidArgs: for args that JSON can't represent.
        """
        return JobSpec(self, _checked(args, self.worker.name))


def _checked(args: Mapping[str, Any] | None, name: str) -> Mapping[str, Any] | None:
    given: object = args
    if given is None or isinstance(given, Mapping) or has_later(given):
        return args
    raise InvalidOption(f"{name}.new(): it runs with other jobs (chunk=), so its args are one dict; got {args!r}")
