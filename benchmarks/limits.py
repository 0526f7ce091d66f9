"""Fetching and acknowledging with limits: ``python -m benchmarks.limits [--jobs 8000] [--pairs 3] [--demand 20]``.

Prints, for 4 and 8 fetchers, the jobs a second of each kind of queue against the plain queue in the same run. Each
fetcher has two connections, and asks for the next jobs when it has acknowledged the last. Then the jobs a second of a
plain queue of a node that also works a limited one, at its limit, against those of the queue alone.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import time
from typing import Any

from sqlalchemy import Connection

import benchmarks.setting as shared
from benchmarks import loop
from benchmarks.setting import Setting, median, noop, setting
from oban_sqla import Oban, Partition, Queue, RateLimit, job
from oban_sqla.runtime.lanes.lane import Lane
from oban_sqla.runtime.lanes.line import Line
from oban_sqla.runtime.limited import parameters
from oban_sqla.statements.fetch import fetch
from oban_sqla.statements.limits import as_array, fetch_limited, make_durable, partition_by

KEYS = 100
NEVER = 1_000_000
FAIR = Partition("args.key")
EACH = Partition("args.key", limit=NEVER)
RATED = Partition("args.key", limit=NEVER, rate_limit=RateLimit(NEVER, 60))
KINDS: dict[str, tuple[Queue, float, float]] = {
    "a global limit that is never reached": (Queue(global_limit=NEVER), 0.7, 0.55),
    "a global limit and a rate": (Queue(global_limit=NEVER, rate_limit=RateLimit(NEVER, 60)), 0.4, 0.3),
    "fairness over 100 keys": (Queue(partition=FAIR), 0.5, 0.4),
    "a limit for each of 100 keys": (Queue(partition=EACH), 0.5, 0.4),
    "a limit and a rate for each of 100 keys": (Queue(partition=RATED), 0.4, 0.3),
}
"""Each with its goals for 4 and for 8 fetchers."""

INSERT = f"""
    INSERT INTO oban_jobs (worker, queue, args, partition_key)
    SELECT 'bench.noop', 'bench', jsonb_build_object('key', i % {KEYS}),
           CASE WHEN p.by <> '{{}}' THEN oban_partition_key(p.epoch, p.by, 'bench.noop',
                jsonb_build_object('key', i % {KEYS}), '{{}}') END
    FROM generate_series(1, $1::int) i LEFT JOIN oban_partitions p ON p.queue = 'bench'
"""


async def measure(setting: Setting, queue: Queue, fetchers: int, jobs: int, demand: int) -> float:
    """Jobs a second."""
    await setting.empty()
    fields = () if queue.partition is None else queue.partition.fields

    def declare(connection: Connection) -> None:
        partition_by.execute(connection, queues=["bench"], fields=[as_array(fields)]).all()

    async with setting.engine.begin() as connection:
        await connection.run_sync(declare)
    await setting.raw.execute(INSERT, jobs)
    await setting.raw.execute("VACUUM ANALYZE oban_jobs")
    lines = [Line(setting.engine, pooled=False) for _ in range(fetchers)]
    lanes = [Lane(line, "fetch") for line in lines]
    acks = [await loop.connect(setting.url) for _ in range(fetchers)]

    async def work(lane: Lane, ack: Any) -> int:
        by = ["bench", "limits"]
        ring_at: str | None = None
        done = 0
        while True:
            given: dict[str, Any] = {"queue": "bench", "attempted_by": by, "unknown": [], "limit": demand}
            if queue.is_limited:
                given |= {"refused": [], "ring_at": ring_at, **parameters(queue)}
            rows = await lane.run(fetch_limited if queue.is_limited else fetch, **given)
            if queue.is_limited:
                ring_at = rows[-1][-3] if rows else None
                rows = [row for row in rows if row[0] is not None]
                if rows:
                    await lane.run(make_durable, ids=[str(row[0]) for row in rows])
            if not rows:
                return done
            await ack.execute(loop.ACK, [row[0] for row in rows], [row[2] for row in rows])
            done += len(rows)

    try:
        await asyncio.gather(*(lane.run(fetch, queue="none", attempted_by=[], unknown=[], limit=1) for lane in lanes))
        began = time.perf_counter()
        done = sum(await asyncio.gather(*map(work, lanes, acks)))
        spent = time.perf_counter() - began
    finally:
        for lane in lanes:
            await lane.close()
        for line in lines:
            await line.close()
        for connected in acks:
            await connected.close()
    assert done == jobs, f"{done} of {jobs} were fetched"
    return jobs / spent


@job(name="bench.held", queue="held")
async def held() -> None:
    """Runs until it is cancelled."""
    await asyncio.Event().wait()


async def beside(setting: Setting, jobs: int, queues: dict[str, Queue]) -> float:
    """Jobs a second of the queue ``bench`` of a node with these queues."""
    await setting.empty()
    async with Oban(setting.engine, queues=queues, shutdown_grace=0.1) as oban:
        await oban.enqueue([held.new() for _ in range(1_000 if "held" in queues else 0)])
        await oban.enqueue([noop.new(number) for number in range(500)])  # to warm up
        while await setting.raw.fetchval("SELECT EXISTS (SELECT FROM oban_jobs WHERE queue = 'bench' AND attempt = 0)"):
            await asyncio.sleep(0.01)
        await oban.pause_queue("bench")
        await oban.enqueue([noop.new(number) for number in range(jobs)])
        target = shared.count + jobs
        began = time.perf_counter()
        await oban.resume_queue("bench")
        while shared.count < target:
            await asyncio.sleep(0.002)
        return jobs / (time.perf_counter() - began)


async def main(jobs: int, pairs: int, demand: int) -> None:
    async with setting() as where:
        for fetchers, goal in ((4, 0), (8, 1)):
            plain: list[float] = []
            found: dict[str, list[float]] = {kind: [] for kind in KINDS}
            for _ in range(pairs):
                alone = await measure(where, Queue(), fetchers, jobs, demand)
                plain.append(alone)
                for kind, (queue, *_) in KINDS.items():
                    found[kind].append(await measure(where, queue, fetchers, jobs, demand) / alone)
            print(f"{fetchers} fetchers, plain queue: {median(plain):,.0f} jobs/s", flush=True)
            for kind, (_, *goals) in KINDS.items():
                print(f"{fetchers} fetchers, {kind}: {median(found[kind]):.2f} of it (goal: {goals[goal]})", flush=True)
        ratios: list[float] = []
        for _ in range(pairs):
            alone = await beside(where, jobs, {"bench": Queue(20)})
            limited = {"bench": Queue(20), "held": Queue(20, global_limit=5)}
            ratios.append(await beside(where, jobs, limited) / alone)
        print(f"a plain queue beside a limited one at its limit: {median(ratios):.2f} of it alone (goal: 0.9)")


if __name__ == "__main__":
    logging.getLogger("oban_sqla").setLevel(logging.ERROR)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=8_000)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--demand", type=int, default=20)
    asyncio.run(main(**vars(parser.parse_args())))
