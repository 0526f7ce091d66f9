"""Random workflows on nodes that are killed: ``python -m benchmarks.flows_chaos [--seed 1] [--flows 60] [--most 200]``.

Four nodes, each a process, work on flows with policies, maps, grafts, parts, appended jobs, failures and retries; every
three seconds one of them gets SIGKILL, and another is started. Half of the flows are left alone: each of their jobs
must end as the model says, with the arguments that the model says, and its effect must be there once. In the others
users cancel, retry and lock what they like. In the end nothing fails any more, all flows are retried, and all must
complete.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from benchmarks.killing import UNDER_WAY, Killing, Launch, calm, launched, node, rows
from benchmarks.random_flows import QUEUE, TABLES, Model, Step, built, drawn, every
from oban_sqla import Oban, Workflow, embedded, migrations

NODES = 4


@dataclass
class Report:
    """What a run has shown."""

    jobs: int = 0
    kills: int = 0
    rescued: int = 0
    deadlocks: int = 0
    changes: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list[str])

    def __str__(self) -> str:
        return (
            f"{self.jobs:,} jobs in {self.seconds:.0f} s, {self.kills} nodes killed, {self.rescued} jobs rescued, "
            f"{self.changes} changes by users: {len(self.wrong)} wrong, {self.deadlocks} deadlocks"
        )


async def meddle(engine: AsyncEngine, flows: list[Workflow], chance: random.Random, report: Report) -> None:
    """What users do: cancel and retry flows and jobs, and hold rows for a while."""
    oban = Oban(engine)
    while True:
        flow = chance.choice(flows)
        try:
            match chance.randrange(6):
                case 0:
                    await oban.cancel(flow)
                case 1 | 2:
                    await oban.retry(flow)
                case 3:
                    async with AsyncSession(engine) as session, session.begin():
                        hold = "SELECT id FROM oban_jobs WHERE workflow_id = :id ORDER BY id LIMIT 10 FOR UPDATE"
                        await session.execute(text(hold), {"id": flow.id})
                        await asyncio.sleep(0.2)
                case 4:
                    found = await rows(
                        engine, "SELECT id FROM oban_jobs WHERE workflow_id = :id ORDER BY random() LIMIT 1", id=flow.id
                    )
                    if found:
                        await oban.cancel(found[0][0])
                case _:
                    found = await rows(
                        engine,
                        "SELECT id FROM oban_jobs WHERE workflow_id = :id AND state IN ('discarded', 'cancelled')"
                        " ORDER BY random() LIMIT 1",
                        id=flow.id,
                    )
                    if found:
                        await oban.retry(found[0][0])
            report.changes += 1
        except DBAPIError as error:
            report.wrong.append(f"a user has seen {error.orig}")
        await asyncio.sleep(0.02)


async def states_of(engine: AsyncEngine, flow_id: int) -> dict[str, tuple[int, str]]:
    """The id and state of each job of a flow, by the names of the model."""
    tree = await rows(
        engine,
        "SELECT w.is_map, coalesce(w.node_name, ''), j.node_name, j.id, j.state::text FROM oban_workflows w"
        " JOIN oban_jobs j ON j.workflow_id = w.id WHERE w.id = ANY (oban_flow_tree(:id))",
        id=flow_id,
    )
    return {f"{node}[{name}]" if is_map else name: (job_id, state) for is_map, node, name, job_id, state in tree}


async def compare(engine: AsyncEngine, flow: Workflow, steps: list[Step], report: Report) -> None:
    """Compare a flow that was left alone with its model."""
    assert flow.id is not None
    model = Model(steps)
    found = await states_of(engine, flow.id)
    ended = {name: state for name, (_, state) in found.items()}
    for name in sorted({*ended, *model.states}):
        if ended.get(name) != model.states.get(name):
            report.wrong.append(f"flow {flow.id} {name}: {ended.get(name)}, expected {model.states.get(name)}")
    [(state,)] = await rows(engine, "SELECT state FROM oban_workflows WHERE id = :id", id=flow.id)
    if state != model.flow.state:
        report.wrong.append(f"flow {flow.id}: {state}, expected {model.flow.state}")
    effects: dict[int, list[Any]] = {}
    for job_id, inputs in await rows(
        engine,
        "SELECT e.job_id, e.inputs FROM chaos_effects e JOIN oban_jobs j ON j.id = e.job_id"
        " WHERE j.state = 'completed' AND j.workflow_id = ANY (oban_flow_tree(:id))",
        id=flow.id,
    ):
        effects.setdefault(job_id, []).append(inputs)
    for step in every(steps):
        if step.kind == "job" and model.states.get(step.name) == "completed" and step.name in found:
            got = effects.get(found[step.name][0], [])
            if got != [model.inputs[step.name]]:
                report.wrong.append(f"flow {flow.id} {step.name}: effects {got}, expected {model.inputs[step.name]}")


async def check_runs(engine: AsyncEngine, report: Report) -> None:
    """No job may have run more often than its attempts say; the key of the table refuses one attempt twice."""
    more = (
        "SELECT j.id FROM oban_jobs j JOIN chaos_runs r ON r.job_id = j.id"
        " GROUP BY j.id HAVING count(*) > j.attempt OR max(r.attempt) > j.attempt"
    )
    report.wrong += [f"job {job_id} ran more often than its attempts say" for (job_id,) in await rows(engine, more)]
    early = (
        "SELECT e.job_id FROM oban_deps e JOIN oban_jobs j ON j.id = e.job_id AND j.state = 'completed'"
        " WHERE e.met = 'o'"
    )
    report.wrong += [f"job {job_id} ran too early" for (job_id,) in await rows(engine, early)]


async def chaos(
    engine: AsyncEngine,
    url: str,
    *,
    seed: int,
    flows: int,
    most: int,
    nodes: int = NODES,
    kill_every: float = 3.0,
    timeout: float = 180.0,
    launch: Launch = launched,
    most_kills: int | None = None,
) -> Report:
    """Run it.

    :param seed: of what is drawn.
    :param flows: how many workflows; users meddle with every second one.
    :param most: nodes of one.
    :param nodes: processes that work on them.
    :param kill_every: seconds between two kills.
    :param timeout: seconds after which something is stuck.
    :param launch: starts a process.
    :param most_kills: after which the nodes stay. Default: none stays.
    """
    chance = random.Random(seed)
    report = Report()
    for table in TABLES:
        await rows(engine, table)
    plans = [drawn(chance, most) for _ in range(flows)]
    made = [built(steps) for steps in plans]
    async with AsyncSession(engine) as session, session.begin():
        session.add_all(made)
    before = (await rows(engine, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"))[0][0]
    began = time.monotonic()
    async with Killing("benchmarks.flows_chaos", url, nodes, kill_every, launch, most_kills) as killing:
        meddling = asyncio.create_task(meddle(engine, made[1::2], chance, report)) if flows > 1 else None
        while meddling is not None and not meddling.done():
            quiet = f"SELECT count(*) FROM oban_jobs WHERE {UNDER_WAY} AND workflow_id = ANY (:ids)"
            trees = [one.id for one in made[::2]]
            if not (await rows(engine, quiet, ids=trees))[0][0] and report.changes >= 20 * flows:
                meddling.cancel()
            await asyncio.sleep(0.1)
        if meddling is not None and not meddling.cancelled() and (failed := meddling.exception()) is not None:
            report.wrong.append(f"a user has seen {failed!r}")
        await calm(engine, timeout)
        for flow, steps in list(zip(made, plans, strict=True))[::2]:
            await compare(engine, flow, steps, report)
        await check_runs(engine, report)
        await rows(engine, "INSERT INTO chaos_healed DEFAULT VALUES")
        oban = Oban(engine)
        for _ in range(12):
            for flow in made:
                await oban.retry(flow)
            await calm(engine, timeout)
            if not await rows(engine, "SELECT id FROM oban_workflows WHERE state <> 'completed' LIMIT 1"):
                break
    unfinished = "SELECT id, node_name, state::text FROM oban_jobs WHERE state <> 'completed' ORDER BY id LIMIT 20"
    report.wrong += [f"after all retries job {one} is not completed" for one in await rows(engine, unfinished)]
    open_ones = "SELECT id, state FROM oban_workflows WHERE state <> 'completed' ORDER BY id LIMIT 20"
    report.wrong += [f"after all retries flow {one} is not completed" for one in await rows(engine, open_ones)]
    await check_runs(engine, report)
    report.seconds = time.monotonic() - began
    report.kills = killing.count
    [(report.jobs, report.rescued)] = await rows(
        engine, "SELECT count(*), count(*) FILTER (WHERE meta ? 'rescued') FROM oban_jobs"
    )
    after = (await rows(engine, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"))[0][0]
    report.deadlocks = after - before
    return report


async def main(seed: int, flows: int, most: int) -> int:
    async with embedded.start() as server:
        engine = create_async_engine(server.url, pool_size=20)
        await migrations.migrate(engine)
        report = await chaos(engine, server.url, seed=seed, flows=flows, most=most)
        print(f"seed {seed}: {report}", *report.wrong[:40], sep="\n  ")
        await engine.dispose()
    return 1 if report.wrong or report.deadlocks else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of what is drawn")
    parser.add_argument("--flows", type=int, default=60, help="how many workflows")
    parser.add_argument("--most", type=int, default=200, help="nodes of one")
    parser.add_argument("--node", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.node:
        url, name = given.node
        asyncio.run(node(url, name, QUEUE))
    else:
        sys.exit(asyncio.run(main(given.seed, given.flows, given.most)))
