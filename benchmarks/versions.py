"""What plain jobs pay for the newer versions of the schema: ``python -m benchmarks.versions [--slices 100]``.

Two databases on one server, version 1 and the newest. The statements are ours; for version 1 without what came later.
Prints, of jobs that use nothing of the newer versions, the speed by that before: of a transaction with `session.add`,
of the bare statements of single inserts, of a bulk, and of fetching and acknowledging; and the bytes of WAL that a job
writes. A single insert of version 1 sends its options, as it did then; now one that has none is a statement of its own.
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
from sqlalchemy import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from benchmarks.setting import median, noop, setting
from oban_sqla import JobSpec, migrations
from oban_sqla.enqueueing.parameters import insertion
from oban_sqla.statements.ack import complete
from oban_sqla.statements.fetch import fetch
from oban_sqla.statements.insert import insert_one
from oban_sqla.statements.statement import Statement

GOAL = 0.97
DIALECT = make_url("postgresql+asyncpg://").get_dialect()()
CHUNK, SLICE, BATCH = 5_000, 100, 20
WAL_SLICES = 10


class Side:
    """One of the databases.

    :param engine: to it.
    :param connection: to it.
    :param first: whether it has version 1.
    """

    def __init__(self, engine: AsyncEngine, connection: asyncpg.Connection[asyncpg.Record], first: bool) -> None:
        self._engine = engine
        self._connection = connection
        self._first = first
        self._prepared: dict[Statement, Any] = {}

    async def close(self) -> None:
        await self._connection.close()
        await self._engine.dispose()

    async def run(self, statement: Statement, **given: Any) -> list[Any]:
        """Execute one of our statements."""
        compiled = statement.compiled(DIALECT)
        if statement not in self._prepared:
            sql = as_in_version_1(compiled.sql) if self._first else compiled.sql
            self._prepared[statement] = await self._connection.prepare(sql)
        rows: list[Any] = await self._prepared[statement].fetch(*compiled.values(given))
        return rows

    async def empty(self) -> None:
        await self._connection.execute("TRUNCATE oban_jobs; CHECKPOINT")

    async def written(self) -> int:
        """How many bytes of WAL the server has written."""
        return int(await self._connection.fetchval("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))

    async def by_session(self) -> None:
        """Enqueue some jobs as an application does, each in a transaction."""
        for number in range(SLICE):
            async with AsyncSession(self._engine) as session:
                session.add(noop.new(number=number))
                await session.commit()

    async def one_by_one(self) -> None:
        """Insert some jobs, each in a transaction."""
        statement, given = insertion([JobSpec("bench.noop", {"number": 1}, queue="bench")])
        if self._first:
            statement, given = insert_one, given | {"meta": "{}", "tags": "{}", "at": None, "delay": None}
        for _ in range(SLICE):
            await self.run(statement, **given)

    async def bulk(self) -> None:
        """Insert many jobs with one statement, as a bulk does again and again."""
        specs = [JobSpec("bench.noop", {"number": number}, queue="bench") for number in range(CHUNK)]
        statement, given = insertion(specs)
        await self.run(statement, **given)

    async def fetch_and_ack(self) -> None:
        """Fetch some jobs, and acknowledge them, a few times."""
        given: dict[str, Any] = {"queue": "bench", "attempted_by": ["bench", "one"], "unknown": [], "limit": BATCH}
        for _ in range(SLICE // BATCH):
            rows = await self.run(fetch, **given)
            assert len(rows) == BATCH
            times: list[datetime] = [row["attempted_at"] for row in rows]
            of = {"id": [row["id"] for row in rows], "attempt": [row["attempt"] for row in rows]}
            await self.run(complete, **of, producer=["one"] * len(rows), attempted_at=times)


def as_in_version_1(sql: str) -> str:
    """The statement as it was before version 2: without the partition, and without columns that came later."""
    sql = re.sub(r", \(SELECT CASE WHEN \(oban_partitions.*?\)\) RETURNING", ") RETURNING", sql, flags=re.DOTALL)
    sql = re.sub(r", \(SELECT CASE WHEN \(oban_partitions.*?\) AS anon_\d+", "", sql, flags=re.DOTALL)
    sql = re.sub(r", CASE WHEN \(oban_partitions.*?END AS anon_\d+", "", sql, flags=re.DOTALL)
    sql = sql.replace(", partition_key)", ")").replace(", oban_jobs.node_name", "")
    sql = re.sub(r" LEFT OUTER JOIN oban_partitions ON .*? ORDER BY", " ORDER BY", sql)
    assert "partition" not in sql, sql
    return sql


def engine_of(where: URL, first: bool) -> AsyncEngine:
    """An engine for a database of version 1, or the newest one. The statements of its sessions are as there."""
    if not first:
        return create_async_engine(where)
    engine = create_async_engine(where, label_length=60)  # its statements are then kept apart from those of the other
    insert, _ = insertion([noop.new(number=1)])
    compiled = insert.compiled(engine.dialect)
    object.__setattr__(compiled, "sql", as_in_version_1(compiled.sql))
    return engine


async def took(work: Callable[[], Awaitable[None]]) -> float:
    """Seconds."""
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


async def compare(old: Side, new: Side, slices: int) -> bool:
    """Whether every figure reaches the goal. The sides take turns of some milliseconds, and medians are compared: what
    else the machine does is then the same for both."""
    rounds: dict[str, tuple[Callable[[Side], Callable[[], Awaitable[None]]], int]] = {
        f"{SLICE} transactions, each with a session.add": (lambda side: side.by_session, slices),
        f"{SLICE} inserts, each in a transaction": (lambda side: side.one_by_one, slices),
        f"{CHUNK:,} jobs of a bulk": (lambda side: side.bulk, slices // 5),
        f"{SLICE} jobs fetched and acknowledged, {BATCH} at a time": (lambda side: side.fetch_and_ack, slices * 4),
    }
    held = True
    for side in (old, new):
        await side.empty()
    for name, (work, number) in rounds.items():
        times: dict[Side, list[float]] = {old: [], new: []}
        for turn in range(number + 4):
            for side in (old, new) if turn % 2 else (new, old):  # none is always the second one
                spent = await took(work(side))
                if turn >= 4:  # the first ones warm up
                    times[side].append(spent)
        ratio = median(times[old]) / median(times[new])
        held &= ratio >= GOAL
        print(f"{name}: {median(times[new]) * 1e3:.1f} ms, {ratio:.3f} of the speed of version 1 (goal {GOAL})")
    return held


async def wal_of(side: Side) -> float:
    """Bytes of WAL that a job writes from its insert to its ack; the least of some rounds, as others write, too.

    Some jobs come before: TRUNCATE leaves dead rows in the catalogs, more where there are more indexes, and whoever
    meets them first writes those pages as a whole.
    """
    found: list[float] = []
    for _ in range(3):
        await side.empty()
        await side.one_by_one()
        await side.fetch_and_ack()
        before = await side.written()
        for _ in range(WAL_SLICES):
            await side.one_by_one()
            await side.fetch_and_ack()
        found.append((await side.written() - before) / (WAL_SLICES * SLICE))
    return min(found)


async def main(slices: int) -> None:
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
                "SET enable_seqscan = off; SET enable_sort = off; SET jit = off; "
                "SET plan_cache_mode = force_generic_plan; SET enable_bitmapscan = off"
            )
            first = url is before
            sides.append(Side(engine_of(url, first), connection, first))
        old, new = [await wal_of(side) for side in sides]
        print(f"WAL of a job: {new:.0f} bytes, {old:.0f} with version 1 (goal: no more)", flush=True)
        held = await compare(sides[0], sides[1], slices)
        for side in sides:
            await side.close()
        await where.raw.execute("DROP DATABASE bench_version_1")
    if not held:
        raise SystemExit(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=100)
    asyncio.run(main(parser.parse_args().slices))
