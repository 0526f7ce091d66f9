"""Pruning beside a drain at full speed: ``python -m benchmarks.pruning [--rows 1000000] [--jobs 60000] [--pairs 3]``.

Prints the jobs a second of the drain alone and while the rows are pruned, on the same table, and their ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import time

import benchmarks.setting as shared
from benchmarks import loop
from benchmarks.setting import Setting, median, setting
from oban_sqla import Oban, Prune, telemetry
from oban_sqla.runtime.duties.pruner import Pruner
from oban_sqla.runtime.lanes.lane import Lane
from oban_sqla.runtime.lanes.line import Line
from oban_sqla.runtime.refusals import Refusals

GOAL = 0.8
CONCURRENCY = 50

HISTORY = """
    INSERT INTO oban_jobs (worker, queue, state, attempt, attempted_by, attempted_at, completed_at)
    SELECT 'bench.noop', 'bench', 'completed', 1, '{node,uuid}', at, at
    FROM (SELECT timezone('UTC', now()) - interval '1 day' - n * interval '1 millisecond' AS at
          FROM generate_series(1, $1::int) n) history
"""


async def measure(setting: Setting, rows: int, jobs: int, *, prune: bool) -> tuple[float, float]:
    """Jobs a second, and rows pruned a second."""
    await setting.empty()
    await setting.raw.execute(HISTORY, rows, timeout=600)
    await loop.insert_many(setting.raw, "bench.noop", "bench", jobs)
    await setting.raw.execute("VACUUM ANALYZE oban_jobs", timeout=600)
    await setting.raw.execute("CHECKPOINT")
    end = shared.count + jobs
    async with Oban(setting.engine, queues={"bench": CONCURRENCY}, poll_interval=60, prune=None) as oban:
        await _counted(end - jobs * 0.95)
        before, began = shared.count, time.perf_counter()
        pruned = await _prune(oban) if prune else 0
        if not prune:
            await _counted(end)
        done, spent = shared.count - before, time.perf_counter() - began
    assert pruned == (rows if prune else 0)
    assert not prune or shared.count < end, "the drain ended before the pruning; raise --jobs"
    return done / spent, pruned / spent


async def _counted(count: float) -> None:
    while shared.count < count:
        await asyncio.sleep(0.005)


async def _prune(oban: Oban) -> int:
    counts: list[int] = []
    telemetry.attach("bench", ["oban.pruner.prune.stop"], lambda _, fields: counts.append(fields["pruned_count"]))
    node = oban._node
    assert node is not None
    lane = Lane(Line(oban.engine, pooled=False), "pruning")
    await Pruner(lane=lane, leadership=node.leadership, prune=Prune(max_age=3600), refusals=Refusals()).step()
    telemetry.detach("bench")
    return sum(counts)


async def main(rows: int, jobs: int, pairs: int) -> None:
    ratios: list[float] = []
    async with setting() as where:
        for _ in range(pairs):
            alone, _ = await measure(where, rows, jobs, prune=False)
            beside, pruned = await measure(where, rows, jobs, prune=True)
            ratios.append(beside / alone)
            print(f"drain alone {alone:,.0f}/s, beside {beside:,.0f}/s, pruned {pruned:,.0f} rows/s", flush=True)
    print(f"drain beside the pruning of {rows:,} rows: {median(ratios):.2f} of the drain alone (goal: {GOAL})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--jobs", type=int, default=500_000)
    parser.add_argument("--pairs", type=int, default=3)
    asyncio.run(main(**vars(parser.parse_args())))
