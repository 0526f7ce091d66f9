"""What the cluster's tests share: quick intervals, and rows as dead nodes leave them."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import Heartbeat
from tests.runtime.helpers import execute

QUICK: dict[str, Any] = {
    "heartbeat": Heartbeat(interval=0.1, stale_after=0.4),
    "leader_ttl": 2.0,
    "lifeline_interval": 0.1,
}
"""For runtimes in the test's own process."""

BRISK: dict[str, Any] = {
    "heartbeat": {"interval": 0.5, "stale_after": 1.5},
    "leader_ttl": 3.0,
    "lifeline_interval": 0.5,
}
"""For nodes that are processes, and share two cores with others."""

LOCKED = """
    SELECT p.queue, l.pid FROM oban_producers p JOIN pg_locks l ON l.locktype = 'advisory' AND l.objsubid = 1
     AND lpad(to_hex(l.classid::bigint), 8, '0') || lpad(to_hex(l.objid::bigint), 8, '0')
       = left(replace(p.uuid::text, '-', ''), 16) ORDER BY 1
"""
"""The queues whose producers have a lock, with the backend that holds it."""

OURS = json.dumps({"locked": True, "stale_after": 0.4})


async def lease_of_another(engine: AsyncEngine, name: str = "oban_sqla:Oban", seconds: float = 3600.0) -> None:
    """Somebody leads, and does nothing."""
    await execute(
        engine,
        "INSERT INTO oban_leaders VALUES "
        f"(:name, 'another', timezone('UTC', now()), timezone('UTC', now()) + interval '{seconds} s')",
        name=name,
    )


async def producer(engine: AsyncEngine, meta: str = OURS, silent: str = "1 hour", queue: str = "gone") -> str:
    """A producer's row without anybody behind it; its uuid."""
    uuid = str(uuid4())
    await execute(
        engine,
        "INSERT INTO oban_producers (uuid, name, node, queue, meta, updated_at) "
        "VALUES (CAST(:uuid AS uuid), 'Oban', 'gone', :queue, CAST(:meta AS jsonb), "
        f"{_ago(silent)})",
        uuid=uuid,
        queue=queue,
        meta=meta,
    )
    return uuid


async def executing(engine: AsyncEngine, uuid: str | None, **columns: Any) -> int:
    """A job that is executing under the producer `uuid`; None: under nobody. Values are SQL."""
    by = "'{}'" if uuid is None else f"ARRAY['gone', '{uuid}']"
    values = {
        "worker": "'nobody.knows'",
        "queue": "'gone'",
        "state": "'executing'",
        "attempt": "1",
        "attempted_at": _ago("1 hour"),
        "attempted_by": by,
    } | columns
    [[job_id]] = await execute(
        engine, f"INSERT INTO oban_jobs ({', '.join(values)}) VALUES ({', '.join(values.values())}) RETURNING id"
    )
    return job_id


def _ago(interval: str) -> str:
    return f"timezone('UTC', now()) - interval '{interval}'" if interval != "never" else "'infinity'"
