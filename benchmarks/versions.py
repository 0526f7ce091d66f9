"""What plain jobs pay for the newer versions of the schema: ``python -m benchmarks.versions [--pairs 9]``.

Two databases on one server, version 1 and the newest. The statements are ours; for version 1 without what came later.
No commit waits for the disk, so that the server's own work is what is compared. Prints, of jobs that use nothing of
the newer versions, the speed by that before: one insert, a bulk of 20,000, and fetching and acknowledging.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import asyncpg
from sqlalchemy import make_url
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks.setting import median, setting
from oban_sqla import JobSpec, migrations
from oban_sqla.enqueueing.parameters import insertion
from oban_sqla.statements.ack import complete
from oban_sqla.statements.fetch import fetch
from oban_sqla.statements.statement import Statement

GOAL = 0.97
BULK, CHUNK, SINGLE, BATCH = 20_000, 5_000, 2_000, 20


class Side:
    """One of the databases.

    :param connection: to it.
    :param first: whether it has version 1.
    """

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record], first: bool) -> None:
        self._connection = connection
        self._first = first
        self._prepared: dict[Statement, Any] = {}

    async def close(self) -> None:
        await self._connection.close()

    async def run(self, statement: Statement, **given: Any) -> list[Any]:
        """Execute one of our statements."""
        compiled = statement.compiled(dialect())
        if statement not in self._prepared:
            sql = as_in_version_1(compiled.sql) if self._first else compiled.sql
            self._prepared[statement] = await self._connection.prepare(sql)
        rows: list[Any] = await self._prepared[statement].fetch(*compiled.values(given))
        return rows

    async def empty(self) -> None:
        await self._connection.execute("TRUNCATE oban_jobs; CHECKPOINT")

    async def one_by_one(self) -> int:
        """Insert jobs, each in a transaction."""
        spec = JobSpec("bench.noop", {"number": 1}, queue="bench")
        for _ in range(SINGLE):
            statement, given = insertion([spec])
            await self.run(statement, **given)
        return SINGLE

    async def bulk(self) -> int:
        """Insert many jobs in one transaction."""
        specs = [JobSpec("bench.noop", {"number": number}, queue="bench") for number in range(CHUNK)]
        statement, given = insertion(specs)
        async with self._connection.transaction():
            for _ in range(BULK // CHUNK):
                await self.run(statement, **given)
        return BULK

    async def fetch_and_ack(self) -> int:
        """Fetch all jobs, twenty at a time, and acknowledge them."""
        done = 0
        given: dict[str, Any] = {"queue": "bench", "attempted_by": ["bench", "one"], "unknown": [], "limit": BATCH}
        while rows := await self.run(fetch, **given):
            times: list[datetime] = [row["attempted_at"] for row in rows]
            of = {"id": [row["id"] for row in rows], "attempt": [row["attempt"] for row in rows]}
            await self.run(complete, **of, producer=["one"] * len(rows), attempted_at=times)
            done += len(rows)
        return done


def as_in_version_1(sql: str) -> str:
    """The statement as it was before version 2: without the partition, and without columns that came later."""
    sql = re.sub(r", \(SELECT CASE WHEN \(oban_partitions.*?\) AS anon_9", "", sql, flags=re.DOTALL)
    sql = re.sub(r", CASE WHEN \(oban_partitions.*?END AS anon_2", "", sql, flags=re.DOTALL)
    sql = sql.replace(", partition_key)", ")").replace(", oban_jobs.node_name", "")
    sql = re.sub(r" LEFT OUTER JOIN oban_partitions ON .*? ORDER BY", " ORDER BY", sql)
    assert "partition" not in sql, sql
    return sql


async def rate(work: Callable[[], Awaitable[int]]) -> float:
    """Jobs a second."""
    began = time.perf_counter()
    return await work() / (time.perf_counter() - began)


async def compare(old: Side, new: Side, pairs: int) -> bool:
    """Whether every figure reaches the goal."""
    figures: dict[str, list[float]] = {"one insert": [], f"a bulk of {BULK:,}": [], "fetch and ack": []}
    for number in range(pairs + 1):
        took: dict[Side, list[float]] = {}
        for side in (old, new) if number % 2 else (new, old):  # none is always the second one
            await side.empty()
            took[side] = [await rate(work) for work in (side.one_by_one, side.bulk, side.fetch_and_ack)]
        if number:  # the first one warms up
            for name, before, after in zip(figures, took[old], took[new], strict=True):
                figures[name].append(after / before)
    for name, ratios in figures.items():
        print(f"{name}: {median(ratios):.3f} of version 1 ({min(ratios):.2f} to {max(ratios):.2f}, goal {GOAL})")
    return all(median(ratios) >= GOAL for ratios in figures.values())


async def main(pairs: int) -> None:
    async with setting() as where:
        await where.raw.execute("CREATE DATABASE bench_version_1")
        before = make_url(where.url).set(database="bench_version_1")
        engine = create_async_engine(before)
        await migrations.migrate(engine, version=1)
        await engine.dispose()
        sides: list[Side] = []
        for url in (before, make_url(where.url)):
            plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
            connection = await asyncpg.connect(plain)
            await connection.execute(
                "SET synchronous_commit = off; SET enable_seqscan = off; SET enable_sort = off; SET jit = off; "
                "SET plan_cache_mode = force_generic_plan; SET enable_bitmapscan = off"
            )
            sides.append(Side(connection, first=url is before))
        held = await compare(sides[0], sides[1], pairs)
        for side in sides:
            await side.close()
        await where.raw.execute("DROP DATABASE bench_version_1")
    if not held:
        raise SystemExit(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=9)
    asyncio.run(main(parser.parse_args().pairs))
