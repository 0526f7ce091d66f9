"""Queries between rows and jobs: ``python -m benchmarks.queries [--jobs 1000000] [--rows 1000000]``.

Prints the buffers that queries over a ``job_relationship`` with its index read, beside those of the same queries over a
foreign key, on a million jobs; then the jobs a second of ``enqueue_from`` beside ``enqueue`` with an iterator.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection, ForeignKey, event, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, selectinload

from benchmarks.setting import Setting, median, setting
from oban_sqla import Job, JobState, enqueue, enqueue_from, job, job_relationship, migrations

ORDERS = 200_000
GOAL_BUFFERS, GOAL_SPEED = 2.0, 4.0


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "bench_orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    jobs: Mapped[list[Job]] = job_relationship("args.order")
    twins: Mapped[list[Twin]] = relationship()


class Twin(Base):
    """What a job would be if it had a foreign key; as wide as one."""

    __tablename__ = "bench_twins"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int | None] = mapped_column(ForeignKey("bench_orders.id"), index=True)
    state: Mapped[JobState] = mapped_column(Job.__table__.c.state.type)


@job(name="bench.remind", queue="bench")
async def remind(order: int) -> None: ...


FILL = """
    CREATE TABLE bench_orders (id int PRIMARY KEY);
    INSERT INTO bench_orders SELECT generate_series(1, {orders});
    INSERT INTO oban_jobs (worker, queue, state, attempt, args, completed_at, attempted_at, partition_key)
    SELECT 'bench.remind', 'bench', (CASE WHEN i % 1000 = 0 THEN 'retryable' ELSE 'completed' END)::oban_job_state, 1,
           CASE WHEN i % 2 = 0 THEN jsonb_build_object('order', 1 + i / 2 % {orders}) ELSE '{{"other": 1}}' END,
           timezone('UTC', now()), timezone('UTC', now()), NULL
    FROM generate_series(1, {jobs}) i;
    CREATE TABLE bench_twins (LIKE oban_jobs INCLUDING DEFAULTS);
    INSERT INTO bench_twins SELECT * FROM oban_jobs ORDER BY id;
    ALTER TABLE bench_twins ADD PRIMARY KEY (id), ADD order_id int REFERENCES bench_orders;
"""
FILLED = """
    UPDATE bench_twins SET order_id = (args ->> 'order')::int WHERE args ? 'order';
    CREATE INDEX ON bench_twins (order_id);
"""


async def related(setting: Setting, jobs: int) -> bool:
    """Whether no query over the relationship reads more than twice the buffers of its twin."""
    await setting.empty()
    async with setting.engine.begin() as connection:
        for command in FILL.format(orders=ORDERS, jobs=jobs).split(";")[:-1]:
            await connection.execute(text(command.replace(": ", "\\: ")))
        for command in FILLED.split(";")[:-1]:
            await connection.execute(text(command))
        await connection.run_sync(
            lambda sync: migrations.index_jobs(Operations(MigrationContext.configure(sync)), "args.order")
        )
    for table in ("oban_jobs", "bench_twins", "bench_orders"):
        await setting.raw.execute(f"VACUUM FULL ANALYZE {table}")
        await setting.raw.execute(f"VACUUM ANALYZE {table}")
    some = [1 + number * 997 for number in range(10)]
    holds = True
    for name, query in QUERIES.items():
        ours, theirs = [await _buffers(setting, query(relation, state, some)) for relation, state in SIDES]
        holds &= ours <= GOAL_BUFFERS * theirs
        print(f"{name}: {ours} buffers, over a foreign key {theirs}: {ours / theirs:.2f} (goal: ≤ {GOAL_BUFFERS:g})")
    await setting.raw.execute("DROP TABLE bench_twins, bench_orders CASCADE")
    await setting.empty()
    return holds


SIDES: tuple[tuple[Any, Any], ...] = ((Order.jobs, Job.state), (Order.twins, Twin.state))
QUERIES: dict[str, Callable[[Any, Any, list[int]], Any]] = {
    "selectinload, 10 orders": lambda relation, _, some: (
        select(Order).where(Order.id.in_(some)).options(selectinload(relation))
    ),
    "any(state == 'retryable'), 50 orders": lambda relation, state, _: (
        select(Order).where(relation.any(state == "retryable")).limit(50)
    ),
    "joined, one order": lambda relation, state, some: (
        select(Order.id, state).join(relation).where(Order.id == some[3])
    ),
}


async def _buffers(setting: Setting, query: Any) -> int:
    """The buffers of all statements that the query sends."""
    total = 0

    def explained(connection: Connection, cursor: Any, sql: str, parameters: Any, context: Any, many: bool) -> None:
        sent.append((sql, parameters))

    sent: list[tuple[str, Any]] = []
    engine = setting.engine.sync_engine
    event.listen(engine, "before_cursor_execute", explained)
    try:
        async with AsyncSession(setting.engine) as session:
            (await session.execute(query)).unique().all()
    finally:
        event.remove(engine, "before_cursor_execute", explained)
    for sql, parameters in sent:
        if not sql.lstrip().startswith("SELECT"):
            continue
        explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}"
        await setting.raw.execute(explain, *parameters)  # also reads what the connection keeps of each index
        plan = await setting.raw.fetchval(explain, *parameters)
        found = json.loads(plan)[0]["Plan"]
        total += found["Shared Hit Blocks"] + found["Shared Read Blocks"]
    return total


async def from_query(setting: Setting, rows: int, of_the_iterator: int) -> bool:
    """Whether a query enqueues so many times faster than an iterator."""
    ours: list[float] = []
    theirs: list[float] = []
    await setting.raw.execute("CREATE TABLE bench_users AS SELECT generate_series(1, $1::int) AS id", rows)
    await setting.raw.execute("ANALYZE bench_users")
    users = text('SELECT id AS "order" FROM bench_users').columns(order=Order.id.type).subquery()
    for _ in range(2):
        await setting.empty()
        began = time.perf_counter()
        async with setting.session() as session, session.begin():
            count = await enqueue_from(session, remind, select(users.c.order.label("order")))
        ours.append(count / (time.perf_counter() - began))
        await setting.empty()
        began = time.perf_counter()
        async with setting.session() as session, session.begin():
            found = await session.stream(select(users.c.order).limit(of_the_iterator))
            ids = [row[0] async for row in found]
            await enqueue(session, (remind.new(id) for id in ids))
        theirs.append(of_the_iterator / (time.perf_counter() - began))
    await setting.raw.execute("DROP TABLE bench_users")
    ratio = median(ours) / median(theirs)
    print(
        f"enqueue_from, {rows:,} rows: {median(ours):,.0f} jobs/s; enqueue with an iterator, {of_the_iterator:,}: "
        f"{median(theirs):,.0f}: {ratio:.1f} × (goal: {GOAL_SPEED:g})"
    )
    return ratio >= GOAL_SPEED


async def main(jobs: int, rows: int) -> None:
    async with setting() as where:
        held = [await related(where, jobs), await from_query(where, rows, min(rows, 200_000))]
    if not all(held):
        raise SystemExit(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    asyncio.run(main(**vars(parser.parse_args())))
