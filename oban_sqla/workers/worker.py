"""What runs a job, as the runtime sees it; made by ``@job`` of a function, and by ``@worker`` of a class."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, cast

from ..errors import InvalidArgs, misfit
from ..models import Job, JobSpec
from ..models.fit import UNKNOWN
from ..models.kind import FIELDS, OPTIONS, Kind, kind_of
from ..options.backoff import Backoff, BackoffOption, default_backoff, wait_of
from ..options.chain import Chain
from ..options.chunk import Chunk
from ..options.duration import seconds
from ..options.encryption import SEALED
from ..options.payload import encode
from .arguments import Arguments
from .compared import refuse_changes, refuse_keys
from .cron import Cron
from .injection import is_session
from .loosened import loosened
from .returned import result_type
from .sealing import check_length, opened_args
from .verdicts import Verdicts
from .worker_options import Missing

_UNIQUE = FIELDS.index(OPTIONS["unique"].attribute)


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
    upcast: Callable[[dict[str, Any]], dict[str, Any]] | None
    """Makes of stored args those that the function takes now."""
    verdicts: Verdicts
    """Which exceptions discard its jobs."""
    coroutine: bool
    """Whether a call of it gives a coroutine, as far as can be seen."""
    executor: str
    """Where its jobs run: ``"async"``, on the event loop, ``"thread"``, ``"process"``, or a name of the user's."""
    cron: str | Cron | None = None
    missing: Missing = "cancel"
    """What becomes of a job when the row of an argument is gone."""
    encrypted: bool = False
    """Whether what it stores is encrypted."""
    chunk: Chunk | None = None
    """How many of its jobs run in one call; None for one."""
    chain: Chain | None = None
    """Which of its jobs run one after the other."""

    @property
    def entities(self) -> tuple[str, ...]:
        """The parameters that take instances of mapped classes."""
        return () if self.arguments is None else self.arguments.entities

    @property
    def worker_name(self) -> str:
        return self.name

    @property
    def is_async(self) -> bool:
        """Whether it runs on an event loop, here or wherever its executor is."""
        return self.coroutine or self.executor == "async"

    @property
    def session_kind(self) -> type | None:
        """The class of the session that the runtime opens for it; None if it asks for none."""
        injected = {} if self.arguments is None else self.arguments.injected
        return next((kind for kind in injected.values() if is_session(kind)), None)

    @property
    def spec_defaults(self) -> Mapping[str, Any]:
        """The options in which its specs differ from those of a worker without any."""
        own = zip(FIELDS, self.spec_kind, kind_of(self.name), strict=True)
        return {name: value for name, value, usual in own if value != usual}

    @property
    def queue(self) -> str:
        """The queue of its specs, unless they say otherwise."""
        return str(self.spec_defaults.get("queue", "default"))

    @property
    def cron_entry(self) -> Cron | None:
        """The entry that it has in the crontab by itself."""
        return None if self.cron is None else Cron.of_worker(self.cron, self)

    def checked_args(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """`args` in the form in which they are stored."""
        checked = args if self.arguments is None else self.arguments.check(args)
        if self.encrypted:
            check_length(self.name, encode(checked, "args", JobSpec.max_args_bytes))
        return checked

    def refuse_unique(self, kind: Kind) -> None:
        """Refuse a key of args that are encrypted, or that no parameter takes, and changes of jobs of a chain or chunk.

        :param kind: of specs of this worker.
        :raises InvalidOption: as :func:`~oban_sqla.workers.compared.refuse_keys` and ``refuse_changes`` do.
        """
        refuse_keys(self.name, kind[_UNIQUE], self.arguments, self.encrypted)
        if self.chain is not None or self.chunk is not None:
            refuse_changes(self.name, kind[_UNIQUE])

    def checked_known(self, args: Mapping[str, Any], waiting: frozenset[str]) -> Mapping[str, Any]:
        """As :meth:`checked_args`, with null in the place of a result of another job.

        :param waiting: the arguments in which that is so.
        """
        if self.arguments is None or not waiting:
            return self.checked_args(args)
        return loosened(self.arguments, waiting).check(args)

    @property
    def result_type(self) -> Any:
        """What the function declares to return."""
        return UNKNOWN if self.arguments is None or self.chunk is not None else result_type(self.target)

    def parameter_type(self, name: str) -> Any:
        """What the function declares the parameter to be."""
        return UNKNOWN if self.arguments is None else self.arguments.hints.get(name, UNKNOWN)

    def check_known(self, args: Mapping[str, Any]) -> None:
        """Check as much of `args` as possible while they contain placeholders of `later`."""
        if self.arguments is not None:
            self.arguments.check_known(args)

    def load(self, args: str, given: Sequence[object] = ()) -> dict[str, Any]:
        """Stored `args`, as JSON text, as keyword arguments for the function, with keys in the places of instances.

        :param given: the instances that a test hands to its job.
        :raises InvalidArgs: for args that don't fit its parameters, or that `upcast` makes something else of.
        :raises ArgsUnopened: for encrypted args that no key opens.
        """
        assert self.arguments is not None  # it is a function's
        if args.startswith(SEALED):
            args = opened_args(self.name, args)
        if self.upcast is None:
            return self.arguments.load_json(args, given)
        made: object = self.upcast(json.loads(args))
        if not isinstance(made, dict):
            raise InvalidArgs(f"{self.name}: upcast has to return a dict of args, got {made!r}")
        try:
            return self.arguments.load_json(json.dumps(made), given)
        except TypeError as error:
            raise InvalidArgs(f"{self.name}: upcast has to return what JSON can represent: {error}") from None

    def is_final(self, error: BaseException, is_given: bool = False) -> bool:
        """Whether this error of a run, raised or given for one job of a chunk, discards the job at once."""
        target: Any = self.target if self.arguments is not None else cast(Any, self.target).process
        return self.verdicts.is_final(error, None if is_given else target)

    def timeout_for(self, job: Job | None) -> float | None:
        """Seconds that one run may take; None for no limit."""
        own = getattr(self.target, "timeout", None) if self.arguments is None else None
        if not callable(own):
            return self.timeout
        value = own(self.target(), job)
        return None if value is None else seconds(value, f"{self.name}.timeout()")

    def delay_for(self, job: Callable[[], Job], error: BaseException, attempt: int, max_attempts: int) -> float:
        """Seconds to wait after `attempt` failed with `error`."""
        own = getattr(self.target, "backoff", None) if self.arguments is None else None
        match self.backoff:
            case None if callable(own):
                return _asked(partial(own, self.target()), job(), error, attempt, f"{self.name}.backoff()")
            case None:
                return default_backoff(attempt, max_attempts)
            case Backoff() as backoff:
                return backoff.delay(attempt)
            case int() | float() | timedelta() as fixed:
                return seconds(fixed, f"{self.name}: backoff")
            case function:
                return _asked(function, job(), error, attempt, f"{self.name}: backoff")


def _asked(backoff: Callable[..., object], job: Job, error: BaseException, attempt: int, what: str) -> float:
    """What a function for the backoff returns, as seconds. It takes the job, or the job and the exception."""
    value = backoff(job) if misfit(backoff, job) is None else backoff(job, error)
    return value.delay(attempt) if isinstance(value, Backoff) else wait_of(value, what)
