"""A rate on four nodes that want more: ``python -m benchmarks.rates [--seconds 30] [--nodes 4]``.

The queue never runs empty. Prints the most jobs that started in any window of the period, by the times that the
database gave them, and how much of the allowance was used: a rate of 100 in 2 s lets 1,500 start in 30 s.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
from contextlib import AsyncExitStack

from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks.setting import Setting, setting
from oban_sqla import Oban, Queue, RateLimit

ALLOWED, PERIOD = 100, 2.0
GOAL = 0.9
# Half-open windows: what starts a whole period later is in the next one.
WORST = """
    SELECT max(n) FROM (SELECT count(*) OVER (
      ORDER BY extract(epoch FROM attempted_at)::float8 RANGE BETWEEN CURRENT ROW AND $1::float8 - 1e-6 FOLLOWING) AS n
      FROM oban_jobs WHERE attempted_at IS NOT NULL) windows"""
STARTED = """
    SELECT count(*) FROM oban_jobs
    WHERE attempted_at < (SELECT min(attempted_at) FROM oban_jobs) + $1::float8 * interval '1 second'"""


async def greedy(setting: Setting, nodes: int, seconds: float) -> bool:
    """Whether no window had too many starts, and nearly all that were allowed took place."""
    await setting.empty()
    allowance = round(ALLOWED * seconds / PERIOD)
    insert = "INSERT INTO oban_jobs (worker, queue, args) SELECT 'bench.noop', 'bench', '{\"number\": 1}' "
    await setting.raw.execute(f"{insert} FROM generate_series(1, $1::int)", allowance * 2)
    queue = Queue(limit=50, rate_limit=RateLimit(ALLOWED, PERIOD))
    async with AsyncExitStack() as stack:
        for number in range(nodes):
            engine = create_async_engine(setting.url)
            stack.push_async_callback(engine.dispose)
            await stack.enter_async_context(Oban(engine, queues={"bench": queue}, node=f"node-{number}"))
        await asyncio.sleep(seconds + 1)
    worst, started = await setting.raw.fetchval(WORST, PERIOD), await setting.raw.fetchval(STARTED, seconds)
    used = started / allowance
    holds = bool(worst <= ALLOWED and used >= GOAL)
    print(
        f"{ALLOWED} starts in {PERIOD:g} s on {nodes} nodes, for {seconds:g} s: at most {worst} in a window, "
        f"{used:.3f} of the allowance used (goal {GOAL}): {'holds' if holds else 'FAILS'}"
    )
    return holds


async def main(nodes: int, seconds: float) -> None:
    async with setting() as where:
        if not await greedy(where, nodes, seconds):
            raise SystemExit(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=30.0)
    logging.getLogger("oban_sqla").setLevel(logging.ERROR)
    asyncio.run(main(**vars(parser.parse_args())))
