"""Making a worker of a function or a class, and checking each of its options."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, cast

from sqlalchemy.ext.asyncio import AsyncSession

from ..errors import InvalidOption, misfit
from ..models.checks import check_name, check_names
from ..models.kind import kind_of, with_options
from ..options.backoff import Backoff, BackoffOption, wait_of
from ..options.chunk import Chunk
from ..options.duration import limit
from .arguments import Arguments
from .compared import checked_chain
from .hooks import checked_hooks
from .registry import default_name, origin_of, workers
from .shape import check_plain, hidden, shape
from .unresolved import Unresolved
from .verdicts import Verdicts, checked_errors
from .worker import Worker
from .worker_options import OF_ITS_SPECS, ChunkOptions, Missing


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
    of_specs = {option: given[option] for option in OF_ITS_SPECS if option in given}
    made = Worker(
        name=name,
        aliases=check_names("aliases", options.get("aliases", ())),
        origin=origin_of(target),
        target=target,
        arguments=arguments,
        spec_kind=with_options(kind_of(name), of_specs, what),
        timeout=_limited(options, "timeout", what),
        deadline=_limited(options, "deadline", what),
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


def _limited(options: ChunkOptions, name: str, what: str) -> float | None:
    value = options.get(name)
    return None if value is None else limit(value, f"{what}: {name}")


def _checked_backoff(backoff: BackoffOption, what: str) -> BackoffOption:
    if callable(backoff) and not isinstance(backoff, type):
        if (why := misfit(backoff, "job")) is not None and misfit(backoff, "job", "exception") is not None:
            called = "with the job, or with the job and the exception"
            raise InvalidOption(f"{what}: it is called {called}, and {backoff!r} fits neither: {why}")
        check_plain(backoff, what)
    elif not (backoff is None or isinstance(backoff, Backoff)):
        wait_of(backoff, what, "a timedelta, Backoff(…) or a function of the job")
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
