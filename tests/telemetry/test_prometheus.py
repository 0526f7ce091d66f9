"""Metrics for Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import Oban, job, telemetry
from oban_sqla.prometheus import Metrics, instrument
from oban_sqla.runtime.duties.leader import Leadership
from oban_sqla.runtime.lanes.failure import StatementFailed, connecting_failed
from oban_sqla.statements.census import census
from tests.processes import finished
from tests.runtime.helpers import execute, insert, until


@job(name="prometheus.works", queue="q")
async def works() -> None: ...


@job(name="prometheus.fails", queue="q", max_attempts=1)
async def fails() -> None:
    raise ValueError("boom")


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Iterator[Metrics]:
    metrics = instrument(registry)
    yield metrics
    metrics.detach()


async def test_runs_are_counted_and_measured(
    engine: AsyncEngine, registry: CollectorRegistry, metrics: Metrics
) -> None:
    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    async with Oban(engine, {"q": 2}, poll_interval=0.05):
        ids = await insert(engine, works.new(), works.options(schedule_in=0.1).new())
        [failed] = await insert(engine, fails.new())
        for job_id in ids:
            await until(engine, job_id, "completed")
        await until(engine, failed, "discarded")
        assert value("oban_leader") == 1

    assert value("oban_jobs_total", queue="q", worker="prometheus.works", state="completed") == 2
    assert value("oban_jobs_total", queue="q", worker="prometheus.fails", state="discarded") == 1
    assert value("oban_jobs_total", queue="q", worker="prometheus.works", state="discarded") == 0, "not missing"
    assert value("oban_fenced_total", queue="q") == value("oban_workflows_total", state="failed") == 0
    assert value("oban_job_duration_seconds_count", queue="q", worker="prometheus.works") == 2
    assert value("oban_job_queue_time_seconds_count", queue="q") == 3
    assert value("oban_jobs_running", queue="q") == 0
    assert value("oban_staged_total") == 1
    assert value("oban_leader") == 0, "the node has resigned, and the process lives on"
    assert b'oban_jobs_total{queue="q",state="completed",worker="prometheus.works"} 2.0' in generate_latest(registry)


async def test_runs_that_began_before_it_was_instrumented_are_not_subtracted(
    engine: AsyncEngine, registry: CollectorRegistry
) -> None:
    began, go_on = asyncio.Event(), asyncio.Event()

    @job(name="prometheus.waits", queue="q")
    async def waits() -> None:
        began.set()
        await go_on.wait()

    async with Oban(engine, {"q": 2}):
        [job_id] = await insert(engine, waits.new())
        await asyncio.wait_for(began.wait(), 10)
        metrics = instrument(registry)
        go_on.set()
        await until(engine, job_id, "completed")
    metrics.detach()
    assert registry.get_sample_value("oban_jobs_running", {"queue": "q"}) in (None, 0)
    assert registry.get_sample_value("oban_job_queue_time_seconds_count", {"queue": "q"}) == 1


def test_jobs_of_two_databases_with_the_same_id_run_and_end(registry: CollectorRegistry, metrics: Metrics) -> None:
    of_run = {"job_id": 7, "attempt": 1, "queue": "q", "worker": "w"}
    ended = {"state": "completed", "duration": 0.1, "queue_time": 0.1}
    running: list[float | None] = []
    for event in ("start", "start", "stop", "stop", "stop"):
        telemetry.execute(f"oban.job.{event}", **of_run, **(ended if event == "stop" else {}))
        running.append(registry.get_sample_value("oban_jobs_running", {"queue": "q"}))
    assert running == [1, 2, 1, 0, 0]


def test_runs_and_workflows_of_hours_are_told_from_those_of_seconds(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    run = {"job_id": 7, "attempt": 1, "queue": "q", "worker": "w", "state": "completed"}
    telemetry.execute("oban.job.stop", **run, duration=500.0, queue_time=3000.0)
    telemetry.execute("oban.workflow.stop", state="completed", parent_id=None, duration=200_000.0)
    for name, labels, below, above in (
        ("oban_job_duration_seconds", {"queue": "q", "worker": "w"}, "300.0", "600.0"),
        ("oban_job_queue_time_seconds", {"queue": "q"}, "1800.0", "3600.0"),
        ("oban_workflow_duration_seconds", {}, "86400.0", "604800.0"),
    ):
        got = [registry.get_sample_value(f"{name}_bucket", {**labels, "le": le}) for le in (below, above)]
        assert got == [0, 1]


async def test_a_leader_whose_database_is_away_leads_until_its_lease_ends(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    answers: list[Any] = [[(True, True, None)]]

    class Away:
        async def run(self, _statement: Any, **_parameters: Any) -> Any:
            if answers:
                return answers.pop()
            raise connecting_failed("upkeep", ConnectionRefusedError("no server"))

    away: Any = Away()
    leadership = Leadership(
        lane=away, schema=None, name="Oban", node="here", origin="x", ttl=3600.0, elected=lambda: None
    )
    await leadership.step()
    for leads in (1, 0):
        leadership._until *= leads
        with pytest.raises(StatementFailed):
            await leadership.step()
        assert registry.get_sample_value("oban_leader") == leads


async def test_queues_are_counted_by_a_query(
    any_engine: AsyncEngine, registry: CollectorRegistry, metrics: Metrics
) -> None:
    ids = await insert(any_engine, *(works.new() for _ in range(3)), works.options(schedule_in=60).new())
    await execute(
        any_engine, f"UPDATE oban_jobs SET scheduled_at = scheduled_at - interval '1 hour' WHERE id = {ids[0]}"
    )
    await execute(any_engine, f"UPDATE oban_jobs SET state = 'executing' WHERE id = {ids[2]}")
    await metrics.count(any_engine)

    def jobs(state: str) -> float | None:
        return registry.get_sample_value("oban_queue_jobs", {"queue": "q", "state": state})

    assert (jobs("available"), jobs("executing"), jobs("scheduled"), jobs("completed")) == (2, 1, 1, None)
    oldest = registry.get_sample_value("oban_queue_oldest_seconds", {"queue": "q"})
    assert oldest == pytest.approx(3600, abs=60)
    await execute(any_engine, "DELETE FROM oban_jobs")
    await metrics.count(any_engine)
    assert jobs("available") is None, "what is gone is not reported for ever"
    never_run = {"queue": "q", "worker": "prometheus.fails", "state": "discarded"}
    assert registry.get_sample_value("oban_jobs_total", never_run) == 0, "so that the first failure is an increase"


async def test_a_thread_that_scrapes_during_a_count_finds_all_queues(
    engine: AsyncEngine, registry: CollectorRegistry, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    await insert(engine, works.new(), works.options(queue="other").new())
    await metrics.count(engine)
    seen: list[float | None] = []
    labels = Gauge.labels

    def scraped(self: Gauge, *values: str) -> Gauge:
        asked = ({"queue": queue, "state": "available"} for queue in ("q", "other"))
        seen.extend(registry.get_sample_value("oban_queue_jobs", one) for one in asked)
        return labels(self, *values)

    monkeypatch.setattr(Gauge, "labels", scraped)
    await metrics.count(engine)
    assert seen
    assert set(seen) == {1}


async def test_counting_reads_no_history(engine: AsyncEngine) -> None:
    await execute(
        engine,
        "INSERT INTO oban_jobs (worker, queue, state, completed_at) "
        "SELECT 'w', 'q', 'completed', now() FROM generate_series(1, 20000)",
    )
    await execute(engine, "ANALYZE oban_jobs")
    async with engine.connect() as connection:
        sql = census.compiled(engine.dialect).sql
        plan = "\n".join((await connection.execute(text(f"EXPLAIN {sql}"))).scalars())
    assert "Seq Scan" not in plan, plan


SHARED = """
from prometheus_client import CollectorRegistry, generate_latest, multiprocess
from oban_sqla.prometheus import _set, instrument
metrics = instrument()
_set(metrics._oldest, {("busy",): 60.0, ("done",): 600.0})
_set(metrics._oldest, {("busy",): 61.0})
multiprocess.MultiProcessCollector(registry := CollectorRegistry())
print(generate_latest(registry).decode())
"""


def test_a_queue_without_jobs_is_0_where_several_processes_of_a_server_share_their_metrics(tmp_path: Path) -> None:
    done = finished(["-W", "error", "-c", SHARED], environment={"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)})
    assert 'oban_queue_oldest_seconds{queue="done"} 0.0' in done.stdout, done.stderr
    assert 'oban_queue_oldest_seconds{queue="busy"} 61.0' in done.stdout, "of all processes one, and without their ids"
    assert "oban_leader 0.0" in done.stdout
