"""What the registered workers ask a runtime for, looked at before it starts."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from ..errors import InvalidOption
from ..models import Job
from ..models._sqlalchemy import private
from ..options.encryption import current
from ..options.queue import Queue
from ..options.sessionmakers import AUTOCOMMIT, SessionMaker, maker_for, named_kind, what_makes
from ..telemetry import node_logger as logger
from ..workers.injection import is_session
from ..workers.registry import workers
from ..workers.unresolved import Unresolved
from ..workers.worker import Worker
from .resources import unprovided


def refuse_unmade_sessions(queues: Container[str], makers: Sequence[SessionMaker]) -> None:
    """Look at the workers of `queues` that run in this process.

    :raises InvalidOption: naming those that ask for a session that none of `makers` makes, or that would commit each
        statement by itself.
    """
    lacking: dict[type, list[str]] = {}
    leaking: list[str] = []
    for worker in asking_for_sessions(queues):
        kind = worker.session_kind
        if kind is None:
            continue
        if (maker := maker_for(kind, makers)) is None:
            lacking.setdefault(kind, []).append(worker.name)
        elif _commits_each(maker):
            leaking.append(worker.name)
    if leaking:
        raise InvalidOption(f"{', '.join(leaking)}: {AUTOCOMMIT}")
    if lacking:
        raise InvalidOption("; ".join(_unmade(kind, names) for kind, names in lacking.items()))


def _commits_each(maker: SessionMaker) -> bool:
    """Whether its engine commits each statement by itself, as far as that can be known without a connection."""
    bind: object = maker.kw.get("bind")
    engine = bind.sync_engine if isinstance(bind, AsyncEngine) else bind
    if not isinstance(engine, Engine):
        return False
    default: object = private(engine.dialect, "_on_connect_isolation_level")
    return bool(engine.get_execution_options().get("isolation_level", default) == "AUTOCOMMIT")


def _unmade(kind: type, names: Sequence[str]) -> str:
    return (
        f"{', '.join(names)}: asks for a session of the kind {named_kind(kind)}, and no sessionmaker of this node "
        f"makes one; give it one: Oban(engine, sessionmaker={what_makes(kind)}), or a list of several sessionmakers; "
        "`oban-sqla start` takes them by name, such as app.db:Session"
    )


def refuse_unprovided(
    queues: Container[str], given: Mapping[Any, Any], is_provided: Callable[[object], bool]
) -> list[Any]:
    """Look at the workers of `queues` that run on this node, in whatever process.

    :param given: what the node provides, by type.
    :param is_provided: whether a type is among them.
    :returns: the types for which they ask.
    :raises InvalidOption: naming every worker that asks for a type that is not provided.
    """
    asked: list[Any] = []
    lacking: list[str] = []
    for worker in workers.distinct():
        if worker.queue not in queues:
            continue
        for name, kind in _resources_of(worker).items():
            if is_provided(kind):
                asked.append(kind)
            else:
                lacking.append(f"{worker.name}: {name} asks for {unprovided(kind, given)}")
    if lacking:
        raise InvalidOption("; ".join(lacking))
    return asked


def _resources_of(worker: Worker) -> dict[str, Any]:
    try:
        injected = {} if worker.arguments is None else worker.arguments.injected
    except Unresolved:  # its first job says so
        return {}
    return {name: kind for name, kind in injected.items() if kind is not Job and not is_session(kind)}


def refuse_partitions(queues: Mapping[str, Queue]) -> None:
    """Look at the workers of `queues` that encrypt their arguments.

    :raises InvalidOption: naming those whose queue is partitioned by an argument, which nothing can read.
    """
    for name, queue in queues.items():
        by = () if queue.partition is None else queue.partition.fields
        if paths := [path for path in by if path.startswith("args")]:
            for worker in _encrypted(queues):
                if worker.queue == name:
                    raise InvalidOption(
                        f"queue {name!r}: partitioned by {paths[0]!r}, and the worker {worker.name!r} encrypts its "
                        'arguments; partition by "meta.…" or "worker", or move the worker to another queue'
                    )


def miss_keys(queues: Container[str]) -> None:
    """Tell of the workers of `queues` that encrypt their arguments, where this process has no keys."""
    if current() is None and (names := [worker.name for worker in _encrypted(queues)]):
        logger.warning(
            "this node has no keys, so it gives back the jobs of %s; give it Oban(encryption=Encryption(keys=[…]))",
            ", ".join(names[:5]),
        )


def _encrypted(queues: Container[str]) -> list[Worker]:
    return [worker for worker in workers.distinct() if worker.encrypted and worker.queue in queues]


def asking_for_sessions(queues: Container[str]) -> list[Worker]:
    """The registered workers of `queues` that run in this process and ask for a session."""
    return [
        worker
        for worker in workers.distinct()
        if worker.executor in ("async", "thread") and worker.queue in queues and _session_kind(worker) is not None
    ]


def _session_kind(worker: Worker) -> type | None:
    try:
        return worker.session_kind
    except Unresolved:  # its first job says so
        return None
