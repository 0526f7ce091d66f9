"""``Oban(metrics=True)`` on a drain at full speed: ``python -m benchmarks.metrics [--jobs 1200000] [--slice 0.1]``.

Two drains differ by more than metrics cost, so it is one drain, in which the counting is turned off and on for a slice
of time each, in the order off, on, on, off. Prints the medians of the ratios of two slices that lie beside each other,
of jobs a second and of the processor time of a job, and the microseconds that counting takes for a job.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import benchmarks.setting as shared
from benchmarks import loop
from benchmarks.setting import Setting, median, setting
from oban_sqla import Oban
from oban_sqla.runtime.measures import Measures

GOAL = 0.98
CONCURRENCY = 50


async def ratios(place: Setting, jobs: int, seconds: float) -> tuple[list[float], list[float]]:
    """Jobs a second with metrics, of those without, in slices beside each other; and the same of jobs for a second of
    this process's processor time, which other programs don't disturb."""
    await place.empty()
    await loop.insert_many(place.raw, "bench.noop", "bench", jobs)
    await place.raw.execute("VACUUM ANALYZE oban_jobs")
    await place.raw.execute("CHECKPOINT")
    end = shared.count + jobs * 95 // 100
    found: list[float] = []
    by_processor: list[float] = []
    async with Oban(place.engine, queues={"bench": CONCURRENCY}, poll_interval=60, metrics=True) as oban:
        measures: Any = oban._node
        measures = measures.measures
        counting = measures.told

        async def rate(told: Any) -> tuple[float, float]:
            measures.told = told
            await asyncio.sleep(0.02)  # what is under way is told as before
            before, began, used = shared.count, time.perf_counter(), time.process_time()
            await asyncio.sleep(seconds)
            ran = shared.count - before
            return ran / (time.perf_counter() - began), ran / (time.process_time() - used)

        await rate(counting)
        while shared.count < end:
            first, second = await rate(None), await rate(counting)
            third, fourth = await rate(counting), await rate(None)
            if shared.count < end and fourth[0] and first[0]:  # else the disk has stood still
                found += [second[0] / first[0], third[0] / fourth[0]]
                by_processor += [second[1] / first[1], third[1] / fourth[1]]
        measures.told = counting
    return found, by_processor


def microseconds(calls: int = 200_000) -> float:
    """How long it takes to count a job."""
    measures: Any = Measures(lane=cast(Any, None), node="bench", counts=True)
    now = datetime.now(UTC)
    row = SimpleNamespace(queue="bench", attempted_at=now, scheduled_at=now - timedelta(seconds=3))
    ack = SimpleNamespace(state="completed")
    began = time.perf_counter()
    for _ in range(calls):
        measures.count(row, ack, time.monotonic())
    return (time.perf_counter() - began) / calls * 1e6


async def main(jobs: int, seconds: float) -> int:
    async with setting() as place:
        found, by_processor = await ratios(place, jobs, seconds)
    print(" ".join(f"{one:.3f}" for one in sorted(found)))
    print(f"to count a job takes {microseconds():.2f} us")
    print(f"jobs for a second of processor time: {median(by_processor):.3f} of those without metrics")
    print(f"a drain with metrics: {median(found):.3f} of one without (goal: {GOAL}), {len(found)} pairs of slices")
    return int(median(found) < GOAL)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--jobs", type=int, default=1_200_000)
    options.add_argument("--slice", type=float, default=0.1, dest="seconds")
    given = options.parse_args()
    sys.exit(asyncio.run(main(given.jobs, given.seconds)))
