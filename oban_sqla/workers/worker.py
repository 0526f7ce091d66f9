"""A registered worker, as the runtime sees it, and the options that ``@job`` and ``@worker`` take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from ..models import Job
from ..models.kind import FIELDS, OPTIONS, Kind, kind_of
from ..models.spec import CommonOptions
from ..options.backoff import Backoff, BackoffOption, default_backoff
from ..options.duration import seconds
from .arguments import Arguments
from .cron import Cron

Executor = Literal["auto", "async", "thread", "process"] | str
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


OPTIONS_OF_SPECS = tuple(name for name, option in OPTIONS.items() if option.of_worker)
WORKER_OPTIONS = tuple({**WorkerOptions.__annotations__, **dict.fromkeys(OPTIONS_OF_SPECS)})


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
