"""Whether a node is healthy, for the health check of a web application or an orchestrator."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ..runtime.config import Config
from ..runtime.lanes.bounded import bounded
from ..runtime.lanes.failure import is_away
from ..runtime.once_a_minute import OnceAMinute
from ..statements.control import pulse
from ..telemetry import node_logger
from ..telemetry.database_error import described
from .queues import QueueInfo, check_all
from .roster import OURS

if TYPE_CHECKING:
    from ..executors.places import Places
    from ..runtime.node import Node

PATIENCE = 3.0
"""Seconds that the database may take to answer."""

_said = OnceAMinute()


@dataclass(frozen=True, slots=True)
class Health:
    """The state of a node, as :meth:`Oban.health` returns it.

    :ivar ok: whether the node is started, all its loops work, the database answers, and child processes, if it needs
        them, can be started.
    :ivar name: the name of the instance.
    :ivar node: the name of the node.
    :ivar started: whether the node is started.
    :ivar database: seconds that the database took to answer; None if it did not.
    :ivar loops: the background loops by name, and whether each works. One that has ended does not, nor does one whose
        step has failed five times in a row, and fails still; the log says why.
    :ivar leader: the name of the node that leads the instance; None if no node leads, or the database does not answer.
    :ivar is_leader: whether this node leads.
    :ivar last_beat: the last heartbeat of the queue whose heartbeat is oldest, by the database's clock; None without
        queues.
    :ivar children: the ids of its child processes.
    :ivar queues: a :class:`QueueInfo` for each queue that runs on this node.
    """

    ok: bool
    name: str
    node: str
    started: bool
    database: float | None
    loops: dict[str, bool]
    leader: str | None
    is_leader: bool
    last_beat: datetime | None
    children: tuple[int, ...]
    queues: tuple[QueueInfo, ...]

    def as_dict(self) -> dict[str, Any]:
        """The state as a dict that ``json.dumps`` accepts."""
        plain = asdict(self)
        plain["last_beat"] = None if self.last_beat is None else self.last_beat.isoformat()
        for queue in plain["queues"]:
            queue |= {"uuid": str(queue["uuid"]), "started_at": queue["started_at"].isoformat()}
        return plain


async def health(engine: AsyncEngine, config: Config, node: Node | None, places: Places | None) -> Health:
    """The health of `node`; see :meth:`Oban.health`.

    :param config: the options of the node.
    :param node: the started node; None before its start and after its stop.
    :param places: its children and other executors; None before its start and after its stop.
    """
    began = time.monotonic()
    leader: str | None = None
    last_beat: datetime | None = None
    spent: float | None = None
    try:
        ours = [] if node is None else [str(producer.uuid) for producer in node.producers.values()]
        row = await _pulse(engine, lease=f"{OURS}{config.name}", uuids=ours)
        leader = None if row.holder is None else str(row.holder).rpartition("/")[0]
        last_beat = row.beat
        spent = time.monotonic() - began
    except Exception as error:
        # The log says why: the pool of the engine may be full, or the role may lack a privilege.
        if _said.is_due((config.node, type(error).__name__)):
            node_logger.warning("health check of %s: the database does not answer: %s", config.node, described(error))
    loops = {} if node is None else {loop.name: loop.works for loop in node.loops}
    return Health(
        ok=node is not None and spent is not None and all(loops.values()) and (places is None or places.is_well),
        name=config.name,
        node=config.node,
        started=node is not None,
        database=spent,
        loops=loops,
        leader=leader,
        is_leader=node is not None and node.leadership.leads,
        last_beat=last_beat,
        children=() if places is None else tuple(places.pids),
        queues=tuple(check_all(node)),
    )


async def _pulse(engine: AsyncEngine, **asked: Any) -> Any:
    async def read(connection: AsyncConnection) -> Any:
        return await connection.run_sync(lambda sync: pulse.execute(sync, **asked).one())

    until = time.monotonic() + PATIENCE
    try:
        return await bounded(engine, PATIENCE, read)
    except Exception as error:
        left = until - time.monotonic()
        if not is_away(error) or left <= 0:
            raise
    return await bounded(engine, left, read)  # the first connection was perhaps opened before a restart of the server
