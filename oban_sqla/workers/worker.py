"""What runs a job, as the runtime sees it; made by ``@job`` of a function, and by ``@worker`` of a class."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, cast

from sqlalchemy.ext.asyncio import AsyncSession

from ..errors import InvalidArgs, InvalidOption, unknown_option
from ..models import Job, JobSpec
from ..models.checks import check_name, check_names
from ..models.fit import UNKNOWN
from ..models.kind import FIELDS, IN_META, NAMES, OPTIONS, Kind, kind_of, with_options
from ..models.spec import CommonOptions
from ..options.backoff import Backoff, BackoffOption, default_backoff
from ..options.chain import Chain
from ..options.chunk import Chunk
from ..options.duration import seconds
from ..options.encryption import SEALED
from ..options.payload import encode
from .arguments import Arguments, Unresolved
from .compared import checked_chain, refuse_keys
from .cron import Cron
from .hooks import checked_hooks
from .injection import is_session
from .loosened import loosened, result_type
from .registry import default_name, origin_of, workers
from .sealing import check_length, opened_args
from .shape import check_plain, hidden, shape
from .verdicts import Verdicts, checked_errors

Executor = Literal["auto", "async", "thread", "process"] | str
Seconds = float | timedelta
Missing = Literal["cancel", "discard", "retry"]


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
    upcast: Callable[[dict[str, Any]], dict[str, Any]]
    retry_for: type[BaseException] | Sequence[type[BaseException]]
    discard_for: type[BaseException] | Sequence[type[BaseException]]
    missing: Missing
    encrypted: bool
    chain: Chain | None


class ChunkOptions(WorkerOptions, total=False):
    """The options of a function that takes many jobs at once."""

    chunk: Chunk | None


_OF_ITS_SPECS = tuple(name for name, option in {**OPTIONS, **IN_META}.items() if option.of_worker)
_UNIQUE = FIELDS.index(OPTIONS["unique"].attribute)
WORKER_OPTIONS = tuple({**ChunkOptions.__annotations__, **dict.fromkeys(_OF_ITS_SPECS)})


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
        """Refuse a key of args that are encrypted, or that no parameter takes.

        :param kind: of specs of this worker.
        :raises InvalidOption: as :func:`~oban_sqla.workers.compared.refuse_keys` does.
        """
        refuse_keys(self.name, kind[_UNIQUE], self.arguments, self.encrypted)

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

    def delay_for(self, job: Callable[[], Job], attempt: int, max_attempts: int) -> float:
        """Seconds to wait after `attempt` failed."""
        own = getattr(self.target, "backoff", None) if self.arguments is None else None
        match self.backoff:
            case None if callable(own):
                return _delay(own(self.target(), job()), attempt, f"{self.name}.backoff()")
            case None:
                return default_backoff(attempt, max_attempts)
            case Backoff() as backoff:
                return backoff.delay(attempt)
            case int() | float() | timedelta() as fixed:
                return seconds(fixed, f"{self.name}: backoff")
            case function:
                return _delay(function(job()), attempt, f"{self.name}: backoff")


def register(target: Any, arguments: Arguments | None, options: ChunkOptions, run: Callable[..., Any]) -> Worker:
    """Make a worker of `target`, a function or a class, and put it among :data:`workers`.

    :param run: what is called: the function itself, or the ``process`` of the class.
    :raises InvalidOption: for a value that an option can't have, or a function whose body would not run.
    :raises WorkerConflict: when another worker has the name.
    """
    name = options.get("name")
    name = default_name(target) if name is None else check_name("name", name)
    what = f"worker {name!r}"
    executor = options.get("executor", "auto")
    check_name(f"{what}: executor", executor)
    called = f"@worker {target.__qualname__}.process" if arguments is None else f"@job {target.__qualname__}"
    coroutine = _is_coroutine(run, executor, called)
    if not isinstance(recorded := options.get("recorded", False), bool):
        raise InvalidOption(f"{what}: recorded must be True or False, got {recorded!r}")
    encrypted = _checked_encrypted(options.get("encrypted", False), arguments, what)
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
        upcast=_checked_upcast(options.get("upcast"), arguments, f"{what}: upcast"),
        verdicts=Verdicts(
            retry_for=checked_errors(given["retry_for"], f"{what}: retry_for") if "retry_for" in given else None,
            discard_for=checked_errors(given["discard_for"], f"{what}: discard_for") if "discard_for" in given else (),
        ),
        coroutine=coroutine,
        executor=_in_process(coroutine) if executor == "auto" else executor,
        cron=options.get("cron"),
        missing=_checked_missing(options.get("missing", "cancel"), arguments, f"{what}: missing"),
        encrypted=encrypted,
        chunk=_checked_chunk(options, arguments, what),
        chain=checked_chain(options.get("chain"), arguments, encrypted, what),
    )
    made.refuse_unique(made.spec_kind)
    if not made.is_async and hidden(run) == "plain":
        _refuse_unawaited(made, called)
    _ = made.cron_entry  # checked while the decorator is on the traceback
    workers.add(made, is_named=options.get("name") is not None)
    return made


def _is_coroutine(run: Callable[..., Any], executor: str, what: str) -> bool:
    """Whether a call of `run` gives a coroutine, as far as can be seen."""
    own, below = shape(run), hidden(run)
    if own == "coroutine":
        if executor == "thread":
            raise InvalidOption(
                f"{what}: a coroutine function runs on the event loop, not in a thread; remove executor="
            )
        return True
    if "context manager" in (own, below):
        raise InvalidOption(f"{what}: a context manager can't be a job, a call runs nothing of it; write a function")
    if own == "generator" or (below == "generator" and executor == "auto"):
        raise InvalidOption(
            f"{what}: a generator can't be a job, a call runs nothing of it; write a function that returns"
            + ("" if own == "generator" else '. If its decorator runs it to its end, say executor="thread"')
        )
    return below == "coroutine" and executor != "thread"


def _refuse_unawaited(made: Worker, what: str) -> None:
    """A plain function would get coroutines of such a session, drop them, and complete."""
    with contextlib.suppress(Unresolved):
        if (kind := made.session_kind) is not None and issubclass(kind, AsyncSession):
            raise InvalidOption(
                f"{what}: a plain function can't await its {kind.__name__}, so no statement would run; "
                "write async def, or ask for a Session"
            )


def _checked_chunk(options: ChunkOptions, arguments: Arguments | None, what: str) -> Chunk | None:
    chunk: object = options.get("chunk")
    if chunk is None:
        return None
    if not isinstance(chunk, Chunk):
        raise InvalidOption(f"{what}: chunk must be Chunk(size=…, timeout=…), got {chunk!r}")
    if arguments is None:
        raise InvalidOption(f"{what}: chunk= is for functions, and process(self, job) takes one job; use @job")
    if (executor := options.get("executor", "auto")) not in ("auto", "async", "thread"):
        raise InvalidOption(
            f"{what}: the jobs of a chunk run on the event loop or in a thread, not with executor={executor!r}; remove "
            "chunk= or executor="
        )
    if options.get("encrypted"):
        raise InvalidOption(f"{what}: the function reads job.args itself (chunk=), which would stay encrypted")
    if options.get("upcast") is not None:
        raise InvalidOption(f"{what}: the function reads job.args itself (chunk=), so upcast= would change nothing")
    return chunk


def _in_process(coroutine: bool) -> str:
    return "async" if coroutine else "thread"


def _limit(value: object, what: str) -> float | None:
    limit = None if value is None else seconds(value, what)
    if limit == 0:
        raise InvalidOption(f"{what}: expected more than 0 seconds, or None for no limit, got {value!r}")
    return limit


def _checked_backoff(backoff: BackoffOption, what: str) -> BackoffOption:
    if callable(backoff) and not isinstance(backoff, type):
        check_plain(backoff, what, "job")
    elif not (backoff is None or isinstance(backoff, Backoff)):
        seconds(backoff, what)
    return backoff


def _checked_upcast(upcast: object, arguments: Arguments | None, what: str) -> Any:
    if upcast is None:
        return None
    if arguments is None:
        raise InvalidOption(f"{what}: it is for functions; process(self, job) reads job.args itself")
    if not callable(upcast):
        raise InvalidOption(f"{what}: expected a function that takes and returns a dict of args, got {upcast!r}")
    check_plain(upcast, what, "dict of args")
    return upcast


def _checked_missing(missing: object, arguments: Arguments | None, what: str) -> Missing:
    if missing not in ("cancel", "discard", "retry"):
        raise InvalidOption(f'{what}: expected "cancel", "discard" or "retry", got {missing!r}')
    if arguments is None and missing != "cancel":
        raise InvalidOption(f"{what}: it is for functions; process(self, job) loads what it needs itself")
    return missing


def _checked_encrypted(encrypted: object, arguments: Arguments | None, what: str) -> bool:
    if not isinstance(encrypted, bool):
        raise InvalidOption(f"{what}: encrypted must be True or False, got {encrypted!r}")
    if encrypted and arguments is None:
        raise InvalidOption(
            f"{what}: encrypted= is for functions, whose parameters get what was encrypted; job.args, which "
            "process(self, job) reads, stays encrypted"
        )
    return encrypted


def _delay(value: object, attempt: int, what: str) -> float:
    """What a function for the backoff has returned, as seconds."""
    return value.delay(attempt) if isinstance(value, Backoff) else seconds(value, what)


def refuse_options(given: Iterable[str], known: Collection[str], what: str) -> None:
    """Refuse options that `what` does not have.

    :raises InvalidOption: for the first; it says where that belongs, if it is one of the worker or of a job.
    """
    for name in given:
        if name in known:
            continue
        if name in WORKER_OPTIONS:
            raise InvalidOption(f"{what}: {name!r} is an option of the worker: @job({name}=…), or @worker({name}=…)")
        if name in NAMES:
            raise InvalidOption(f"{what}: {name!r} is an option of one job: .options({name}=…).new(…)")
        raise unknown_option(name, known, what)
