"""Chains on nodes that are killed: ``python -m benchmarks.chains [--jobs 10000] [--chains 1000] [--seed 1]``.

Three nodes, each a process of which one is killed again and again, run jobs of which every tenth fails at first, while
several tasks insert them. A job that finds its key locked by another run says so. In the end no job may have started
before one of its key that was committed before it was enqueued had ended.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from benchmarks.killing import Killing, Launch, calm, launched, node, rows
from oban_sqla import Chain, Job, Oban, embedded, injected, job, migrations

QUEUE = "chains"
INSERTERS = 6
TABLES = (
    "CREATE TABLE chain_starts (job_id bigint, at timestamptz DEFAULT clock_timestamp(), attempt int,"
    " PRIMARY KEY (job_id, attempt))",
    "CREATE TABLE chain_ends (job_id bigint PRIMARY KEY, at timestamptz DEFAULT clock_timestamp())",
    "CREATE TABLE chain_overlaps (key int, job_id bigint)",
)


@job(queue=QUEUE, name="benchmarks.chains.step", chain=Chain(by="args.key"), max_attempts=50, backoff=0.05)
async def step(job: Job, oban: Oban, key: int, fails: bool, session: AsyncSession = injected()) -> None:
    """Hold a lock of the key while it runs; a killed node loses it."""
    given = {"key": key, "id": job.id, "attempt": job.attempt}
    async with oban.engine.connect() as connection:
        autocommit = await connection.execution_options(isolation_level="AUTOCOMMIT")
        alone = await autocommit.scalar(text("SELECT pg_try_advisory_lock(7, :key)"), given)
        try:
            if not alone:
                await autocommit.execute(text("INSERT INTO chain_overlaps VALUES (:key, :id)"), given)
            await autocommit.execute(text("INSERT INTO chain_starts (job_id, attempt) VALUES (:id, :attempt)"), given)
            await asyncio.sleep(0.002)
            if fails and job.attempt == 1:
                raise ValueError("at first")
            await session.execute(text("INSERT INTO chain_ends (job_id) VALUES (:id)"), given)
        finally:
            if alone:
                await autocommit.execute(text("SELECT pg_advisory_unlock(7, :key)"), given)


@dataclass
class Report:
    """What a run has shown."""

    kills: int = 0
    seconds: float = 0.0
    ended: int = 0
    rescued: int = 0
    overlaps: int = 0
    early: int = 0
    ordered: int = 0
    left: list[Any] = field(default_factory=list[Any])

    @property
    def is_good(self) -> bool:
        return not (self.overlaps or self.early or self.left)

    def __str__(self) -> str:
        return (
            f"{self.ended:,} jobs in {self.seconds:.0f} s, {self.kills} nodes killed, {self.rescued} jobs rescued: two "
            f"of a key at once {self.overlaps}, too early {self.early} of {self.ordered:,} ordered pairs, stuck "
            f"{len(self.left)}"
        )


Inserted = list[tuple[int, int, float, float]]
"""Of each job its id, its key, and when its transaction was begun and committed."""


async def insert(engine: AsyncEngine, jobs: int, chains: int, chance: random.Random) -> Inserted:
    """Insert jobs, some in each transaction."""
    done: Inserted = []
    while len(done) < jobs:
        began = time.monotonic()
        specs = [
            step.new(key=chance.randrange(chains), fails=chance.random() < 0.1)
            for _ in range(min(chance.choice([1, 5, 20]), jobs - len(done)))
        ]
        async with AsyncSession(engine, expire_on_commit=False) as session:
            session.add_all(specs)
            await session.flush()
            await asyncio.sleep(chance.choice([0, 0, 0.01, 0.05]))
            await session.commit()
        ended = time.monotonic()
        done += [(spec.id, spec.args["key"], began, ended) for spec in specs if spec.id is not None]
    return done


async def chains(
    engine: AsyncEngine,
    url: str,
    *,
    jobs: int,
    keys: int,
    seed: int,
    nodes: int = 3,
    kill_every: float = 3.0,
    launch: Launch = launched,
    most_kills: int | None = None,
) -> Report:
    """Run it.

    :param jobs: how many.
    :param keys: of how many chains they are.
    :param seed: of what is drawn.
    :param nodes: processes that work on them.
    :param kill_every: seconds between two kills.
    :param launch: starts a process.
    :param most_kills: after which the nodes stay. Default: none stays.
    """
    report = Report()
    for table in TABLES:
        await rows(engine, table)
    chance = random.Random(seed)
    killing = Killing("benchmarks.chains", url, nodes, kill_every, launch, most_kills)
    began = time.monotonic()
    async with killing:
        share = jobs // INSERTERS
        parts = [share + (jobs - share * INSERTERS if number == 0 else 0) for number in range(INSERTERS)]
        inserted = [
            one
            for part in await asyncio.gather(*(insert(engine, size, keys, chance) for size in parts))
            for one in part
        ]
        await calm(engine, 120, chained=True)
    report.seconds = time.monotonic() - began
    report.kills = killing.count
    starts = dict(await rows(engine, "SELECT job_id, min(at) FROM chain_starts GROUP BY job_id"))
    ends = dict(await rows(engine, "SELECT job_id, at FROM chain_ends"))
    report.ended = len(ends)
    [(report.overlaps,)] = await rows(engine, "SELECT count(*) FROM chain_overlaps")
    [(report.rescued,)] = await rows(engine, "SELECT count(*) FROM oban_jobs WHERE meta ? 'rescued'")
    report.left = [one for one, *_ in inserted if one not in ends]
    of_key: dict[int, Inserted] = defaultdict(list)
    for one in inserted:
        of_key[one[1]].append(one)
    for several in of_key.values():
        for first, _, _, committed in several:
            for other, _, began_at, _ in several:
                if committed < began_at and first in ends and other in starts:
                    report.ordered += 1
                    report.early += starts[other] < ends[first]
    return report


async def main(jobs: int, keys: int, seed: int) -> int:
    async with embedded.start() as server:
        engine = create_async_engine(server.url, pool_size=20)
        await migrations.migrate(engine)
        report = await chains(engine, server.url, jobs=jobs, keys=keys, seed=seed)
        print(f"{jobs:,} jobs in {keys:,} chains: {report}")
        await engine.dispose()
    return 0 if report.is_good else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--chains", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1, help="of what is drawn")
    parser.add_argument("--node", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.node:
        url, name = given.node
        asyncio.run(node(url, name, QUEUE))
    else:
        sys.exit(asyncio.run(main(given.jobs, given.chains, given.seed)))
