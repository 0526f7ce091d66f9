"""A drain beside a large history: ``python -m benchmarks.history [--finished N] [--scheduled N] [--pairs 3]``.

Defaults: 10,000,000 finished jobs and 200,000 scheduled ones.

Two databases of one server with ``shared_buffers = 1GB``: one is empty, one has the history. The same drain runs in
each in turn; what counts is the second beside the first. The asyncpg loop does the same, for comparison.
"""

from __future__ import annotations

import argparse
import asyncio

from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks.loop import connect
from benchmarks.rows import Figures, drain
from benchmarks.setting import Setting, median
from oban_sqla import embedded, migrations

GOAL = 0.9
CONCURRENCY = 50
FINISHED = """
    INSERT INTO oban_jobs (worker, queue, state, attempt, attempted_by, inserted_at, attempted_at, completed_at, args)
    SELECT 'bench.noop', 'bench', 'completed', 1, '{node,uuid}', at, at, at, jsonb_build_object('number', n)
    FROM (SELECT n, timezone('UTC', now()) - n * interval '8 milliseconds' AS at
          FROM generate_series($1::int, $2::int) n) history
"""
SCHEDULED = """
    INSERT INTO oban_jobs (worker, queue, state, scheduled_at)
    SELECT 'bench.noop', 'bench', 'scheduled', timezone('UTC', now()) + interval '1 day' + n * interval '1 second'
    FROM generate_series(1, $1::int) n
"""
STEP = 1_000_000


async def database(url: str, name: str) -> Setting:
    """A migrated database of this name on the server."""
    server = create_async_engine(url, isolation_level="AUTOCOMMIT")
    async with server.connect() as connection:
        await connection.execute(text(f"CREATE DATABASE {name}"))
    await server.dispose()
    own = make_url(url).set(database=name).render_as_string(hide_password=False)
    engine = create_async_engine(own)
    await migrations.migrate(engine)
    return Setting(own, engine, await connect(own))


async def main(finished: int, scheduled: int, pairs: int) -> bool:
    async with embedded.start(settings={"shared_buffers": "1GB", "max_wal_size": "8GB"}) as server:
        places = {"empty": await database(server.url, "without"), "beside": await database(server.url, "beside")}
        full = places["beside"].raw
        for first in range(0, finished, STEP):
            await full.execute(FINISHED, first + 1, min(first + STEP, finished), timeout=600)
        await full.execute(SCHEDULED, scheduled, timeout=600)
        await full.execute("VACUUM ANALYZE oban_jobs", timeout=600)
        await full.execute("CHECKPOINT", timeout=600)
        runs: dict[str, list[Figures]] = {"empty": [], "beside": []}
        for _ in range(pairs):
            for name, place in places.items():
                runs[name].append(await drain(place, CONCURRENCY, empty=name == "empty"))
        for place in places.values():
            await place.raw.close()
            await place.engine.dispose()
    ratios: Figures = {}
    for side in ("loop", "ours"):
        speeds = {name: median([run[side] for run in several]) for name, several in runs.items()}
        ratios[side] = speeds["beside"] / speeds["empty"]
        print(f"{side:5} empty {speeds['empty']:7,.0f} jobs/s, beside {speeds['beside']:7,.0f}, {ratios[side]:.2f}")
    print(f"goal ≥ {GOAL}: {'reached' if ratios['ours'] >= GOAL else 'NOT REACHED'}")
    return ratios["ours"] >= GOAL


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--finished", type=int, default=10_000_000)
    parser.add_argument("--scheduled", type=int, default=200_000)
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    raise SystemExit(0 if asyncio.run(main(options.finished, options.scheduled, options.pairs)) else 1)
