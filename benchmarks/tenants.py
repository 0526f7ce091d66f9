"""A thousand tenants behind a large one: ``python -m benchmarks.tenants [--backlog 1000000]``.

Prints how many jobs are fetched until each tenant has had its first, and the buffers that a fetch of 20 reads, with a
tenth of the backlog and with all of it. The indexes of a larger table are one level higher, which any fetch reads: so
the plain fetch is measured, too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from benchmarks.setting import Setting, setting
from oban_sqla import Partition, Queue
from oban_sqla.runtime.limited import parameters
from oban_sqla.statements.fetch import fetch
from oban_sqla.statements.limits import as_array, fetch_limited, partition_by

TENANTS = 1_000
DEMAND = 20
PLAIN = "plain"
QUEUES = {
    PLAIN: Queue(),
    "fairness": Queue(partition=Partition("args.key")),
    "a limit of 3 a tenant": Queue(partition=Partition("args.key", limit=3)),
}
INSERT = """
    INSERT INTO oban_jobs (worker, queue, args, partition_key)
    SELECT 'bench.noop', 'bench', jsonb_build_object('key', {key}), p.epoch || '|[' || {key} || ']'
    FROM generate_series(1, $1::int) i, oban_partitions p WHERE p.queue = 'bench'"""
READ = "SELECT sum(pg_stat_get_xact_blocks_fetched(oid))::int FROM pg_class WHERE relname LIKE 'oban\\_jobs%'"


async def tenants(setting: Setting, backlog: int) -> bool:
    """Whether a fetch reads no more with the whole backlog, and each tenant has a job within two rounds."""
    holds = True
    await setting.empty()

    def declare(connection: Connection) -> None:
        partition_by.execute(connection, queues=["bench"], fields=[as_array(["args.key"])]).all()

    async with setting.engine.begin() as connection:
        await connection.run_sync(declare)
    await setting.raw.execute(INSERT.format(key="0"), backlog // 10)
    await setting.raw.execute(INSERT.format(key="1 + i % 1000"), 3 * TENANTS)
    await setting.raw.execute("VACUUM ANALYZE oban_jobs")
    before = {name: await _buffers(setting, queue) for name, queue in QUEUES.items()}
    await setting.raw.execute(INSERT.format(key="0"), backlog - backlog // 10)
    await setting.raw.execute("VACUUM ANALYZE oban_jobs")
    growth: dict[str, float] = {}
    for name, queue in QUEUES.items():
        after = await _buffers(setting, queue)
        growth[name] = after / before[name]
        print(f"{name}: {DEMAND} jobs, {before[name]} buffers; ten times the backlog: {growth[name]:.2f} ×", flush=True)
        holds &= growth[name] <= 1.1 * growth[PLAIN]
    picks = await _until_all(setting)
    print(f"each of {TENANTS + 1} tenants had its first job within {picks} (two rounds: {2 * (TENANTS + 1)})")
    return holds and picks <= 2 * (TENANTS + 1) + DEMAND


async def _buffers(setting: Setting, queue: Queue) -> int:
    """What one fetch reads of the jobs and their indexes; it is undone."""

    def fetched(connection: Connection) -> int:
        _fetched(connection, queue, None)  # what the catalog says is cached now
        before = connection.exec_driver_sql(READ).scalar_one()
        _fetched(connection, queue, None)
        return int(connection.exec_driver_sql(READ).scalar_one() - before)

    async with setting.engine.connect() as connection:
        return await connection.run_sync(fetched)


def _fetched(connection: Connection, queue: Queue, ring_at: str | None) -> Sequence[Any]:
    given: dict[str, Any] = {"queue": "bench", "attempted_by": ["bench", "tenants"], "unknown": [], "limit": DEMAND}
    if not queue.is_limited:
        return fetch.execute(connection, **given).all()
    return fetch_limited.execute(connection, **given, refused=[], ring_at=ring_at, **parameters(queue)).all()


async def _until_all(setting: Setting) -> int:
    seen: set[int] = set()
    picks = 0
    ring_at: str | None = None
    while len(seen) <= TENANTS:
        async with setting.engine.begin() as connection:
            rows = await connection.run_sync(_fetched, QUEUES["fairness"], ring_at)
        for row in rows:
            ring_at = [*row][-3] or ring_at
            if row.id is not None:
                picks += 1
                seen.add(json.loads(row.args)["key"])
    return picks


async def main(backlog: int) -> None:
    async with setting() as where:
        if not await tenants(where, backlog):
            raise SystemExit(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backlog", type=int, default=1_000_000)
    asyncio.run(main(**vars(parser.parse_args())))
