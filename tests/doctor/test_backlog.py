"""Jobs that wait in vain, or are too large."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import Heartbeat, JobSpec, Oban
from oban_sqla.insight.doctor import _examine
from oban_sqla.statements.diagnosis import heads
from tests.cluster.helpers import producer
from tests.doctor.conftest import diagnose, one, without_seconds
from tests.runtime.helpers import execute, insert, until
from tests.runtime.test_why import ALIVE, NOW, PAUSED, row


async def test_a_queue_that_no_node_runs(engine: AsyncEngine) -> None:
    await row(engine, queue="'fresh'")
    assert (await one(engine, "backlog")).status == "ok"
    await row(engine, queue="'media'", scheduled_at=f"{NOW} - interval '5 m'", priority="3")
    await row(engine, queue="'media'")
    await producer(engine, ALIVE, "0 s", "medias")
    finding = await one(engine, "backlog")
    assert finding.status == "problem"
    assert without_seconds(finding.found) == (
        "available jobs of queue 'media' have been waiting for 5 min, and no living node runs the queue; "
        "did you mean 'medias'?"
    )
    await producer(engine, ALIVE, "0 s", "media")
    found = (await one(engine, "backlog")).found
    assert without_seconds(found) == "queues with waiting jobs: 2, the oldest job for 5 min"


async def test_a_queue_that_does_not_keep_up(engine: AsyncEngine) -> None:
    await producer(engine, ALIVE, "0 s", "a")
    await row(engine, scheduled_at=f"{NOW} - interval '20 m'")
    finding = await one(engine, "backlog")
    assert finding.status == "warning"
    assert finding.found == "available jobs of queue 'a' have been waiting for 20 min"


async def test_a_queue_that_was_paused_and_forgotten(engine: AsyncEngine) -> None:
    await producer(engine, PAUSED, "0 s", "a")
    await row(engine, scheduled_at=f"{NOW} - interval '20 m'")
    assert (await one(engine, "backlog")).status == "ok"
    await row(engine, scheduled_at=f"{NOW} - interval '2 h'")
    finding = await one(engine, "backlog")
    assert finding.found == "available jobs of queue 'a' have been waiting for 2 h, and it is paused"
    assert finding.advice == "oban-sqla queues resume a"


async def test_jobs_due_that_no_node_stages(engine: AsyncEngine) -> None:
    await row(engine, state="'scheduled'", scheduled_at=f"{NOW} - interval '5 s'")
    assert (await one(engine, "overdue")).status == "ok"
    await row(engine, state="'retryable'", scheduled_at=f"{NOW} - interval '5 m'")
    finding = await one(engine, "overdue")
    assert finding.status == "problem"
    assert (
        without_seconds(finding.found) == "a job of queue 'a' has been due for 5 min, and no node has made it available"
    )
    await producer(engine, ALIVE, "0 s", "a")
    assert (await one(engine, "overdue")).status == "warning"
    await row(engine, state="'scheduled'", scheduled_at="'-infinity'")
    assert "has been due for ever" in (await one(engine, "overdue")).found


async def test_workers_that_no_node_knows(engine: AsyncEngine) -> None:
    async with Oban(engine, queues={"a": 2}, poll_interval=0.05):
        [job_id] = await insert(engine, JobSpec("doctor.newer_version", queue="a"))
        await until(engine, job_id, "scheduled")
        finding = await one(engine, "unknown_workers")
        # Due again, and no node fetches it: this one leaves the worker's jobs to others.
        await execute(engine, f"UPDATE oban_jobs SET state = 'available', scheduled_at = {NOW}")
        later = await one(engine, "unknown_workers")
    assert finding.status == "warning"
    assert finding.found == "1 job waits for a node that knows the worker: doctor.newer_version"
    assert later == finding


@pytest.mark.parametrize("odd", ["5", "[1]", '"unknown_worker"', '["unknown_worker"]', "null"])
async def test_meta_that_is_not_an_object_is_not_taken_for_a_note_of_a_node(engine: AsyncEngine, odd: str) -> None:
    await row(engine, state="'scheduled'", meta=f"'{odd}'", scheduled_at=NOW)
    assert (await one(engine, "unknown_workers")).status == "ok"


async def test_large_args_and_errors(engine: AsyncEngine) -> None:
    noise = "(SELECT string_agg(md5(random()::text || i), '') FROM generate_series(1, {}) i)"
    await row(engine, args=f"jsonb_build_object('text', {noise.format(150)})")
    finding = await one(engine, "large_jobs")
    assert finding.status == "warning"
    assert finding.found.startswith("args take 4,8")
    assert finding.found.endswith("(jobs sampled: 1)")
    await row(engine, args=f"jsonb_build_object('text', {noise.format(5000)})")
    await row(engine, errors=f"jsonb_build_array(jsonb_build_object('error', {noise.format(5000)}))")
    said = [finding.found.split(" take ")[0] for finding in await diagnose(engine, "large_jobs")]
    assert said == ["args", "args of a job", "errors of a job"]


async def test_every_queue_and_priority_is_visited_once(engine: AsyncEngine) -> None:
    await execute(
        engine,
        "INSERT INTO oban_jobs (worker, queue, priority, scheduled_at) SELECT 'x', 'q' || i % 5, i % 3, "
        f"{NOW} - i * interval '1 m' FROM generate_series(1, 3000) i",
    )
    async with engine.connect() as connection:
        await connection.execute(text("SET LOCAL enable_seqscan = off"))
        found = (await connection.run_sync(lambda sync: heads.execute(sync, most=100))).all()
        assert sorted((row.queue, row.priority) for row in found) == [(f"q{q}", p) for q in range(5) for p in range(3)]
        assert max(row.seconds for row in found) == pytest.approx(3000 * 60, abs=60)
        assert len((await connection.run_sync(lambda sync: heads.execute(sync, most=4))).all()) == 4


async def test_nothing_reads_a_large_table_from_end_to_end(own_engine: AsyncEngine) -> None:
    await execute(
        own_engine,
        "INSERT INTO oban_jobs (worker, queue, state, completed_at) "
        "SELECT 'x', 'a', 'completed', timezone('UTC', now()) FROM generate_series(1, 50000)",
    )
    await execute(own_engine, "ANALYZE oban_jobs")
    counted = text("SELECT seq_scan, seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = 'oban_jobs'")
    async with own_engine.connect() as connection:
        # What this connection has not reported yet is in it, too.
        [[scans_before, read_before]] = await connection.execute(counted)
        await connection.rollback()
        found = await connection.run_sync(_examine, False, Heartbeat())
        assert {finding.status for finding in found} == {"ok"}
        [[scans, read]] = await connection.execute(counted)
    assert scans - scans_before <= 1  # the sample
    assert read - read_before <= 20_000
