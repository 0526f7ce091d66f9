"""What becomes of jobs whose node is dead, and of rows that no node would touch again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from oban_sqla import Heartbeat, Oban, telemetry
from oban_sqla.insight.roster import read
from oban_sqla.options import heartbeat
from oban_sqla.prometheus import instrument
from oban_sqla.runtime.duties import lifeline
from oban_sqla.statements.cluster import bury, lock_key
from oban_sqla.statements.rescue import discard_exhausted, rescue
from oban_sqla.statements.stage import stage_all
from tests.cluster.helpers import QUICK, executing, producer
from tests.runtime.helpers import execute, load, until
from tests.support import eventually


@asynccontextmanager
async def leader(engine: AsyncEngine, **options: Any) -> AsyncGenerator[Oban]:
    async with Oban(engine, **(QUICK | options)) as oban:
        await eventually(lambda: oban.is_leader)
        yield oban


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Producers that are not ours are dead after a second, too."""
    monkeypatch.setattr(heartbeat, "FOREIGN_STALE_AFTER", 1.0)
    monkeypatch.setattr(heartbeat, "PATIENCE", 2)


async def looks(oban: Oban) -> None:
    """Wait until the lifeline has looked six times since it can see the dead."""
    node = oban._node
    assert node is not None
    seen: list[object] = []

    def sees() -> bool:
        watched = node.lifeline._watched  # a new one each time
        if node.lifeline._sight > 0.8 and (not seen or seen[-1] is not watched):
            seen.append(watched)
        return len(seen) >= 6

    await eventually(sees, interval=0.005)


async def test_a_job_of_a_dead_producer_is_available_at_once(any_engine: AsyncEngine) -> None:
    job_id = await executing(any_engine, await producer(any_engine))
    async with leader(any_engine):
        job = await until(any_engine, job_id, "available")
    assert job.attempt == 1, "the attempt is burned: nobody knows how far it came"
    assert job.meta == {"rescued": 1}
    [error] = job.errors
    assert error["attempt"] == 1
    assert "the node that ran it died" in error["error"]
    assert "gone/" in error["error"]
    assert datetime.now(UTC) - datetime.fromisoformat(error["at"]) < timedelta(minutes=1)


async def test_a_job_that_was_rescued_before_waits_for_its_backoff(engine: AsyncEngine) -> None:
    """A job that kills its node must not kill them all, one after the other."""
    uuid = await producer(engine)
    job_id = await executing(engine, uuid, attempt="3", meta="""'{"rescued": 1, "mine": true}'""")
    hundred = await executing(engine, uuid, attempt="50", max_attempts="100", meta="""'{"rescued": 7}'""")
    async with leader(engine):
        job = await until(engine, job_id, "retryable")
        scaled = await until(engine, hundred, "retryable")
    assert job.meta == {"rescued": 2, "mine": True}
    wait = (job.scheduled_at - datetime.now(UTC)).total_seconds()
    assert 15 + 8 - 5 < wait < (15 + 8) * 1.1 + 1, "the backoff of a third attempt"
    wait = (scaled.scheduled_at - datetime.now(UTC)).total_seconds()
    assert 15 + 2**10 - 5 < wait < (15 + 2**10) * 1.1 + 1, "scaled to twenty attempts"


@contextmanager
def telling(event: str) -> Generator[list[Mapping[str, Any]]]:
    """The fields of each such event."""
    told: list[Mapping[str, Any]] = []
    telemetry.attach("test", [event], lambda _, fields: told.append(fields))
    try:
        yield told
    finally:
        telemetry.detach("test")


async def logged_as_discarded(caplog: pytest.LogCaptureFixture, job_id: int) -> dict[str, object]:
    """The attributes of the record that says so, for programs that tell people of errors."""
    record = await eventually(lambda: next((r for r in caplog.records if getattr(r, "job_id", 0) == job_id), None))
    assert (record.name, record.levelname) == ("oban_sqla.job", "ERROR")
    return {name: vars(record)[name] for name in ("worker", "queue", "attempt")}


async def test_a_job_without_attempts_left_is_discarded(engine: AsyncEngine, caplog: pytest.LogCaptureFixture) -> None:
    uuid = await producer(engine)
    await executing(engine, uuid, attempt="4", max_attempts="5")
    job_id = await executing(engine, uuid, attempt="5", max_attempts="5")
    metrics = instrument(registry := CollectorRegistry())
    try:
        with telling("oban.lifeline.discard") as told:
            async with leader(engine):
                job = await until(engine, job_id, "discarded")
                logged = await logged_as_discarded(caplog, job_id)
    finally:
        metrics.detach()
    assert logged == {"worker": job.worker, "queue": job.queue, "attempt": 5}
    assert told == [{"job_id": job_id, **logged}]
    counted = {"queue": job.queue, "worker": job.worker, "state": "discarded"}
    assert registry.get_sample_value("oban_jobs_total", counted) == 1
    assert job.discarded_at is not None
    assert len(job.errors) == 1


async def test_a_job_that_was_to_be_cancelled_is_cancelled(engine: AsyncEngine) -> None:
    uuid = await producer(engine)
    job_id = await executing(engine, uuid, attempt="20", cancel_at="timezone('UTC', now())")
    async with leader(engine):
        job = await until(engine, job_id, "cancelled")
    assert job.cancelled_at is not None
    assert job.discarded_at is None


async def test_the_row_of_a_dead_producer_goes_when_its_jobs_have_gone(engine: AsyncEngine) -> None:
    uuid = await producer(engine)
    ids = [await executing(engine, uuid) for _ in range(3)]
    async with engine.connect() as holder, leader(engine) as oban:
        await holder.exec_driver_sql(f"SELECT 1 FROM oban_jobs WHERE id = {ids[1]} FOR UPDATE")
        await until(engine, ids[2], "available")
        await looks(oban)
        assert (await load(engine, ids[1])).state == "executing", "a locked row holds nobody up"
        rows = await execute(engine, "SELECT uuid::text FROM oban_producers")
        assert rows == [(uuid,)]
        await holder.rollback()
        await until(engine, ids[1], "available")
        await eventually(lambda: _no_producers(engine))


async def _no_producers(engine: AsyncEngine) -> bool:
    return await execute(engine, "SELECT 1 FROM oban_producers") == []


async def test_a_batch_is_not_the_end(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifeline, "BATCH", 3)
    uuid = await producer(engine)
    ids = [await executing(engine, uuid) for _ in range(10)]
    with telling("oban.lifeline.rescue.stop") as rescued:
        async with leader(engine):
            for job_id in ids:
                await until(engine, job_id, "available")
            await eventually(lambda: rescued)
    assert [(told["rescued_count"], told["available_count"]) for told in rescued] == [(10, 10)]


async def test_rescued_jobs_wake_their_queue(engine: AsyncEngine) -> None:
    uuid = await producer(engine)
    job_id = await executing(engine, uuid, queue="'here'")
    async with leader(engine, queues={"here": 1}, poll_interval=3600.0):
        # Nobody here knows the worker: fetching gives it back, marked.
        await until(engine, job_id, lambda job: job.meta.get("unknown_worker") == 1)


async def test_a_producer_with_a_lock_lives_however_long_it_is_silent(engine: AsyncEngine) -> None:
    uuid = await producer(engine, silent="50 minutes")
    job_id = await executing(engine, uuid)
    async with engine.connect() as living, leader(engine) as oban:
        await living.exec_driver_sql(f"SELECT pg_advisory_lock({lock_key(UUID(uuid))})")
        await looks(oban)
        assert (await load(engine, job_id)).state == "executing"
        await living.exec_driver_sql("SELECT pg_advisory_unlock_all()")
        await until(engine, job_id, "available")


async def test_a_lock_of_the_same_number_in_another_database_is_not_the_producers(
    engine: AsyncEngine, empty_database: str
) -> None:
    elsewhere = create_async_engine(empty_database)
    uuid = await producer(engine)
    job_id = await executing(engine, uuid)
    try:
        async with elsewhere.connect() as other, leader(engine):
            await other.exec_driver_sql(f"SELECT pg_advisory_lock({lock_key(UUID(uuid))})")
            await until(engine, job_id, "available")
    finally:
        await elsewhere.dispose()


async def test_a_lock_does_not_help_beyond_dead_after(engine: AsyncEngine) -> None:
    uuid = await producer(engine, silent="2 hours")
    job_id = await executing(engine, uuid)
    short = Heartbeat(interval=0.1, stale_after=0.4, dead_after=1.0)
    async with engine.connect() as lying, leader(engine, heartbeat=short):
        await lying.exec_driver_sql(f"SELECT pg_advisory_lock({lock_key(UUID(uuid))})")
        await until(engine, job_id, "available")


@pytest.mark.parametrize(
    "meta",
    [
        '{"local_limit": 10, "paused": false}', "[]", '"?"', '{"stale_after": "soon"}',
        pytest.param('{"n": ' + "9" * 5_000 + "}", id="more digits than Python reads"),
        pytest.param('{"n": ' + "[" * 3_000 + "]" * 3_000 + "}", id="more levels than Python reads"),
    ],
)  # fmt: skip
async def test_a_foreign_producer_is_given_a_minute(engine: AsyncEngine, meta: str) -> None:
    """oban-py sends a heartbeat every 15 s, and knows no locks."""
    dead = await executing(engine, await producer(engine, meta, silent="61 seconds"))
    alive = await executing(engine, await producer(engine, meta, silent="30 seconds"))
    async with leader(engine) as oban:
        await until(engine, dead, "available")
        await looks(oban)
        assert (await load(engine, alive)).state == "executing"
    async with engine.connect() as connection:
        seen = await connection.run_sync(read, Heartbeat())
    assert any(alive in member.running for member in seen.members)


async def test_a_producer_with_a_slower_heartbeat_is_judged_by_its_own(engine: AsyncEngine) -> None:
    slow = '{"locked": true, "stale_after": 120}'
    dead = await executing(engine, await producer(engine, slow, silent="121 seconds"))
    alive = await executing(engine, await producer(engine, slow, silent="100 seconds"))
    async with leader(engine) as oban:
        await until(engine, dead, "available")
        await looks(oban)
        assert (await load(engine, alive)).state == "executing"


async def test_a_producer_without_a_row_is_dead_when_it_does_not_come_back(engine: AsyncEngine, hasty: None) -> None:
    job_id = await executing(engine, str(uuid4()))
    began = asyncio.get_running_loop().time()
    async with leader(engine):
        await until(engine, job_id, "available")
    assert asyncio.get_running_loop().time() - began > 1.0


@pytest.mark.parametrize("by", ["'{}'", "NULL", "ARRAY['only']", "ARRAY['a', NULL]", "ARRAY[['a'],['b']]"])
async def test_a_job_without_a_producer_is_taken_back(engine: AsyncEngine, hasty: None, by: str) -> None:
    await execute(engine, "ALTER TABLE oban_jobs ALTER attempted_by DROP NOT NULL")
    try:
        old = await executing(engine, None, attempted_by=by)
        fresh = await executing(engine, None, attempted_by=by, attempted_at="timezone('UTC', now()) + interval '1 h'")
        async with leader(engine):
            await until(engine, old, "available")
        assert (await load(engine, fresh)).state == "executing", "somebody may just be writing it"
    finally:
        await execute(engine, "DELETE FROM oban_jobs")
        await execute(engine, "ALTER TABLE oban_jobs ALTER attempted_by SET NOT NULL")


async def test_nothing_that_other_programs_wrote_stops_the_rescue(engine: AsyncEngine, hasty: None) -> None:
    uuid = await producer(engine)
    strange = [
        {"meta": "'[1]'", "errors": "'{}'"},
        {"meta": "'\"text\"'", "errors": "'null'"},
        {"meta": """'{"rescued": "often"}'"""},
        {"meta": """'{"rescued": -3}'"""},
        {"meta": """'{"rescued": {"a": 1}}'"""},
        {"attempted_at": "'-infinity'", "scheduled_at": "'infinity'"},
        {"attempted_at": "NULL", "inserted_at": "'-infinity'"},
        {"attempted_by": f"ARRAY[repeat('n', 100000), '{uuid.upper()}']"},
    ]
    huge = await executing(engine, uuid, meta="""'{"rescued": 1e200}'""")
    infinite = await executing(engine, await producer(engine, silent="never"))
    ids = [await executing(engine, uuid, **columns) for columns in strange]
    async with leader(engine):
        for job_id in ids:
            job = await until(engine, job_id, "available")
            assert job.meta["rescued"] == 1
            assert len(job.errors) == 1
        assert (await until(engine, huge, "retryable")).meta["rescued"] == 1_000_001
        await until(engine, infinite, "available")


async def test_an_available_job_without_attempts_left_is_discarded(
    engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    stuck = await executing(engine, None, state="'available'", attempt="20")
    fine = await executing(engine, None, state="'available'", attempt="19")
    with telling("oban.lifeline.discard") as told:
        async with leader(engine):
            assert len((await until(engine, stuck, "discarded")).errors) == 1
            logged = await logged_as_discarded(caplog, stuck)
    assert (logged["attempt"], told) == (20, [{"job_id": stuck, **logged}])
    assert (await load(engine, fine)).state == "available"


async def test_a_living_producer_whose_row_was_taken_away_keeps_its_jobs(engine: AsyncEngine) -> None:
    """The tables are UNLOGGED: empty after a crash."""
    async with leader(engine, queues={"here": 1}) as oban:
        node = oban._node
        assert node is not None
        key = node.producers["here"].key
        job_id = await executing(engine, key, queue="'here'")
        node.producers["here"]._reconciliation._at = [1e12]  # it would give back what it does not know
        await execute(engine, "TRUNCATE oban_producers, oban_leaders")
        await eventually(lambda: _is_back(engine, key))
        await looks(oban)
        assert (await load(engine, job_id)).state == "executing"


async def _is_back(engine: AsyncEngine, key: str) -> bool:
    return await execute(engine, "SELECT uuid::text FROM oban_producers") == [(key,)]


async def test_a_leader_that_has_lost_its_lease_changes_nothing(engine: AsyncEngine) -> None:
    """R9: it may believe what it wants; the row says so."""
    uuid = await producer(engine)
    job_id = await executing(engine, uuid)
    stuck = await executing(engine, None, state="'available'", attempt="20")
    rare = {"heartbeat": Heartbeat(interval=60, stale_after=3600), "lifeline_interval": 3600.0, "poll_interval": 3600.0}
    async with leader(engine, leader_ttl=3600.0, **rare) as oban:
        node = oban._node
        assert node is not None
        await until(engine, stuck, "discarded")  # the first look repairs
        stuck = await executing(engine, None, state="'available'", attempt="20")
        await execute(engine, "UPDATE oban_leaders SET expires_at = timezone('UTC', now()) - interval '1 s'")
        due = await executing(engine, None, state="'scheduled'")
        assert oban.is_leader, "by its own clock"
        token = node.leadership.token
        batch: dict[str, Any] = {"limit": 10, "refused": []}
        [[beat]] = await execute(engine, f"SELECT updated_at::text FROM oban_producers WHERE uuid = '{uuid}'")
        assert await node.connections.leading.run(rescue, dead=[uuid], patience=0.0, **batch, **token) == []
        assert await node.connections.leading.run(discard_exhausted, **batch, **token) == []
        assert await node.connections.leading.run(bury, dead=[uuid], beats=[beat], **token) == []
        assert [row[0] for row in await node.connections.leading.run(stage_all, queues=[], **batch, **token)] == [None]
    for id_, state in ((job_id, "executing"), (stuck, "available"), (due, "scheduled")):
        assert (await load(engine, id_)).state == state
