"""What the registered workers ask a runtime for, looked at before it starts."""

from __future__ import annotations

from collections.abc import Container, Sequence

from ..errors import InvalidOption
from ..options.sessionmakers import SessionMaker, maker_for, named_kind, what_makes
from ..workers.arguments import Unresolved
from ..workers.registry import workers
from ..workers.worker import Worker


def refuse_unmade_sessions(queues: Container[str], makers: Sequence[SessionMaker]) -> None:
    """Look at the workers of `queues` that run in this process.

    :raises InvalidOption: naming those that ask for a session that none of `makers` makes.
    """
    lacking: dict[type, list[str]] = {}
    for worker in asking_for_sessions(queues):
        kind = worker.session_kind
        if kind is not None and maker_for(kind, makers) is None:
            lacking.setdefault(kind, []).append(worker.name)
    for kind, names in lacking.items():
        them = f"{', '.join(names[:5])}{', …' if len(names) > 5 else ''}"
        raise InvalidOption(
            f"{them}: asks for a session of the kind {named_kind(kind)}, and no sessionmaker of this node makes one; "
            f"give it one: Oban(engine, sessionmaker={what_makes(kind)}), or a list of several sessionmakers"
        )


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
