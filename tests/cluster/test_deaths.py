"""Nodes that are real processes, and really die: what happens to the jobs that they were running."""

from __future__ import annotations

import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import JobSpec, Oban
from tests.cluster.helpers import BRISK, QUICK
from tests.integration.node import RUNS
from tests.integration.nodes import node
from tests.runtime.helpers import execute, finished, insert, load, until
from tests.support import eventually

ALL = "default=60"
NONE = "elsewhere=1"


@pytest.fixture
async def runs(engine: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    await execute(engine, RUNS)
    yield engine
    await execute(engine, "DROP TABLE runs")


async def started(engine: AsyncEngine, count: int, attempt: int = 1) -> None:
    async def all_have() -> bool:
        sql = "SELECT count(*) FROM runs WHERE attempt = :attempt"
        return (await execute(engine, sql, attempt=attempt))[0][0] == count

    await eventually(all_have, timeout=20)


async def leading(engine: AsyncEngine, name: str) -> float:
    """Wait until the node `name` leads. Returns the time at which that was seen, by the monotonic clock."""

    async def leads() -> bool:
        sql = "SELECT 1 FROM oban_leaders WHERE name LIKE 'oban_sqla:%' AND node LIKE :name"
        return bool(await execute(engine, sql, name=f"{name}/%"))

    await eventually(leads, timeout=20)
    return time.monotonic()


@pytest.mark.parametrize("victim_leads", [False, True])
async def test_the_jobs_of_a_killed_node_run_again_elsewhere(
    runs: AsyncEngine, database_url: str, victim_leads: bool
) -> None:
    first, second = ("victim", "other") if victim_leads else ("other", "victim")
    queues = {"victim": ALL, "other": NONE}
    async with (
        node(database_url, queues[first], node=first, **BRISK) as one,
        node(database_url, queues[second], node=second, **BRISK) as two,
    ):
        await leading(runs, first)
        ids = await insert(runs, *(JobSpec("node.first_hangs") for _ in range(50)))
        await started(runs, 50)
        async with node(database_url, ALL, node="heir", **BRISK):
            victim = one if victim_leads else two
            victim.signal(signal.SIGKILL)
            await victim.ended()
            jobs = await finished(runs, ids, timeout=30)
    for job in jobs:
        assert (job.attempt, job.attempted_by[0], job.meta["rescued"]) == (2, "heir", 1)
    logged = await execute(runs, "SELECT attempt, node, count(*) FROM runs GROUP BY 1, 2 ORDER BY 1")
    assert logged == [(1, "victim", 50), (2, "heir", 50)], "each ran once more, on one node"


async def test_a_job_that_blocks_its_node_is_never_rescued(runs: AsyncEngine, database_url: str) -> None:
    async with Oban(runs, **QUICK) as oban, node(database_url, ALL, node="blocked", **BRISK):
        assert oban.is_leader
        blocked = 6.0  # four times as long as a node may be silent
        [job_id] = await insert(runs, JobSpec("node.blocks", {"seconds": blocked}))
        job = await until(runs, job_id, "completed", timeout=blocked + 20)
    assert (job.attempt, job.meta, job.errors) == (1, {}, [])
    assert await execute(runs, "SELECT attempt, count(*) FROM runs GROUP BY 1") == [(1, 1)]


async def test_late_acks_of_a_stopped_node_change_nothing(runs: AsyncEngine, database_url: str) -> None:
    short: dict[str, Any] = BRISK | {"heartbeat": {"interval": 0.5, "stale_after": 1.5, "dead_after": 3.0}}
    async with node(database_url, NONE, node="leader", **short):
        await leading(runs, "leader")
        async with node(database_url, ALL, node="stopped", **short) as stopped:
            ids = await insert(runs, *(JobSpec("node.first_hangs", {"seconds": 1.0}) for _ in range(10)))
            await started(runs, 10)
            stopped.signal(signal.SIGSTOP)
            async with node(database_url, ALL, node="heir", **short):
                await finished(runs, ids, timeout=30)
            rows = await execute(runs, "SELECT id, xmin::text FROM oban_jobs ORDER BY id")
            stopped.signal(signal.SIGCONT)
            await started(runs, 10, attempt=0)  # they end there, too
        # The node has stopped, in peace: its acks were sent.
        assert stopped.returncode == 0
    assert await execute(runs, "SELECT id, xmin::text FROM oban_jobs ORDER BY id") == rows
    for job_id in ids:
        assert (await load(runs, job_id)).attempted_by[0] == "heir"


async def test_a_job_that_kills_its_node_does_not_kill_them_all(runs: AsyncEngine, database_url: str) -> None:
    async with (
        Oban(runs, **QUICK),
        node(database_url, "default=1", node="one", **BRISK) as one,
        node(database_url, "default=1", node="two", **BRISK) as two,
        node(database_url, "default=1", node="three", **BRISK) as three,
    ):
        [job_id] = await insert(runs, JobSpec("node.kills"))
        job = await until(runs, job_id, lambda job: job.meta.get("rescued") == 2, timeout=30)
        assert job.state == "retryable"
        assert sorted((process.returncode or 0) for process in (one, two, three)) == [-9, -9, 0]


async def test_a_leader_that_stops_has_a_successor_within_a_second(runs: AsyncEngine, database_url: str) -> None:
    """Though a job keeps it from ending, and its lease would last for an hour."""
    patient: dict[str, Any] = {"leader_ttl": 3600.0}
    async with node(database_url, ALL, node="first", **patient) as first:
        await leading(runs, "first")
        async with node(database_url, NONE, node="second", **patient):
            await insert(runs, JobSpec("node.started", {"seconds": 60.0}))
            await started(runs, 1)
            asked = time.monotonic()
            first.signal(signal.SIGTERM)
            assert await leading(runs, "second") - asked < 5.0, "one, where nothing else runs; the lease lasts an hour"
            assert first.returncode is None


async def test_a_killed_leader_has_a_successor_when_its_lease_ends(runs: AsyncEngine, database_url: str) -> None:
    async with node(database_url, NONE, node="first", **BRISK) as first:
        await leading(runs, "first")
        async with node(database_url, NONE, node="second", **BRISK):
            killed = time.monotonic()
            first.signal(signal.SIGKILL)
            assert await leading(runs, "second") - killed < BRISK["leader_ttl"] + 2.0


async def test_a_leader_that_slept_past_its_lease_changes_nothing_when_it_wakes(
    runs: AsyncEngine, database_url: str
) -> None:
    async with (
        node(database_url, NONE, node="first", **BRISK) as first,
        node(database_url, NONE, node="second", **BRISK | {"leader_ttl": 600.0}) as second,
    ):
        await leading(runs, "first")
        first.signal(signal.SIGSTOP)
        await leading(runs, "second")
        second.signal(signal.SIGSTOP)
        # Work for a leader: a job that is due, and one without attempts. Nobody may do it now.
        await execute(
            runs,
            "INSERT INTO oban_jobs (worker, queue, state, attempt) "
            "VALUES ('a', 'q', 'scheduled', 0), ('a', 'q', 'available', 20)",
        )
        rows = await execute(runs, "SELECT id, xmin::text, state::text FROM oban_jobs ORDER BY id")
        first.signal(signal.SIGCONT)
        for _ in range(3):
            await _beats(runs, "first")
        assert await execute(runs, "SELECT id, xmin::text, state::text FROM oban_jobs ORDER BY id") == rows


async def _beats(engine: AsyncEngine, name: str) -> None:
    sql = "SELECT updated_at FROM oban_producers WHERE node = :name"
    before = await execute(engine, sql, name=name)

    async def beaten() -> bool:
        return await execute(engine, sql, name=name) != before

    await eventually(beaten)
