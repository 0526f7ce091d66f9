"""The options of workers, as type checkers know them and as messages name them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import timedelta
from typing import Any, Literal

from ..errors import ELSEWHERE, InvalidOption, unknown_option
from ..models.kind import IN_META, NAMES, OPTIONS
from ..models.spec import CommonOptions
from ..options.backoff import BackoffOption
from ..options.chain import Chain
from ..options.chunk import Chunk
from .cron import Cron

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


OF_ITS_SPECS = tuple(name for name, option in {**OPTIONS, **IN_META}.items() if option.of_worker)
"""Those that its specs have unless they say otherwise."""
WORKER_OPTIONS = tuple({**ChunkOptions.__annotations__, **dict.fromkeys(OF_ITS_SPECS)})


def refuse_options(given: Iterable[str], known: Collection[str], what: str) -> None:
    """Refuse options that `what` does not have.

    :raises InvalidOption: for the first; it says where that belongs, if it is one of the worker or of a job.
    """
    for name in given:
        if name in known:
            continue
        ours = name if name in WORKER_OPTIONS or name in NAMES else ELSEWHERE.get(name, name)
        said = repr(ours) if ours == name else f"{name!r} is called {ours!r} here, and"
        if ours in known:
            raise unknown_option(name, known, what)
        if ours in WORKER_OPTIONS:
            raise InvalidOption(f"{what}: {said} is an option of the worker: @job({ours}=…), or @worker({ours}=…)")
        if ours in NAMES:
            raise InvalidOption(f"{what}: {said} is an option of one job: .options({ours}=…).new(…)")
        raise unknown_option(name, known, what)
