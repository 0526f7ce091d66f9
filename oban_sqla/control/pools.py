"""Whether as many jobs as may run at once find a connection for their session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Engine, QueuePool
from sqlalchemy.ext.asyncio import AsyncEngine

from ..models._sqlalchemy import private
from ..options.queue import Queue
from ..options.sessionmakers import SessionMaker, maker_for
from ..runtime.asked import asking_for_sessions
from ..telemetry import node_logger as logger


def introduce_pools(runs: Mapping[str, Queue], makers: Sequence[SessionMaker]) -> None:
    """Log which engine's pool is smaller than the limits of the queues whose jobs take sessions from it.

    :param runs: the queues of a node that has started.
    :param makers: its sessionmakers.
    """
    taken: dict[SessionMaker, dict[str, int]] = {}
    for worker in asking_for_sessions(runs):
        if worker.session_kind is not None and (maker := maker_for(worker.session_kind, makers)) is not None:
            taken.setdefault(maker, {})[worker.queue] = runs[worker.queue].limit
    for maker, limits in taken.items():
        jobs, pool = sum(limits.values()), _pool_of(maker)
        if pool is not None and (room := _room(pool)) is not None and room < jobs:
            logger.warning(
                "up to %d jobs with a session run at once in the queues %s, and the pool of their engine has %d "
                "connections: the others wait for one, and fail after %g s; give the engine pool_size=%d, or lower "
                "the limits", jobs, ", ".join(sorted(limits)), room, pool.timeout(), jobs,
            )  # fmt: skip


def _pool_of(maker: SessionMaker) -> QueuePool | None:
    bind: object = maker.kw.get("bind")
    pool = bind.pool if isinstance(bind, AsyncEngine | Engine) else None
    return pool if isinstance(pool, QueuePool) else None


def _room(pool: QueuePool) -> int | None:
    """How many connections it opens at most; None where that is not known, or without an end."""
    size, overflow = pool.size(), private(pool, "_max_overflow")
    return None if not isinstance(overflow, int) or overflow < 0 or size == 0 else size + overflow
