"""Rows that the database refuses to change, by what the user put on the table: the other jobs go on."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import Oban, Partition, Prune, Queue, RateLimit, job
from oban_sqla.runtime.batches import Batches
from oban_sqla.runtime.lanes.lane import Lane
from oban_sqla.runtime.lanes.line import Line
from oban_sqla.runtime.refusals import Refusals
from oban_sqla.statements.fetch import FETCH_ONWARD
from tests.cluster.helpers import QUICK, executing, producer
from tests.runtime.helpers import execute, finished, insert, load, until
from tests.support import eventually

REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF OLD.meta->>'cursed' = 'yes' THEN RAISE EXCEPTION 'no, not %', OLD.id; END IF;
  IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
  RETURN NEW;
END $$
"""
BIND = "CREATE TRIGGER refuse BEFORE {} ON oban_jobs FOR EACH ROW EXECUTE FUNCTION refuse()"

CURSED = {"cursed": "yes"}


@job(name="refused.work")
async def work() -> None: ...


@job(name="refused.fail")
async def fail() -> None:
    raise ValueError("again")


@pytest.fixture
async def refusing(any_engine: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    """A trigger of the user's refuses each change of jobs with a mark in their meta."""
    await execute(any_engine, REFUSE)
    await execute(any_engine, BIND.format("UPDATE OR DELETE"))
    yield any_engine
    await execute(any_engine, "DROP FUNCTION refuse CASCADE")


def named(caplog: pytest.LogCaptureFixture, job_id: int) -> list[str]:
    return [record.message for record in caplog.records if record.message.startswith(f"job {job_id}: the database")]


def failed_steps(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if "trying again" in record.message]


async def test_a_job_that_a_trigger_refuses_to_start_holds_up_no_other_of_its_queue(
    refusing: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "oban_sqla")
    before = await insert(refusing, *(work.new() for _ in range(5)))
    cursed = await insert(refusing, *(work.options(meta=CURSED, priority=0).new() for _ in range(2)))
    behind = await insert(refusing, *(work.options(priority=9).new() for _ in range(20)))
    async with Oban(refusing, queues={"default": 10}, poll_interval=0.05):
        await finished(refusing, before + behind, timeout=10)
        later = await insert(refusing, *(work.new() for _ in range(20)))
        await finished(refusing, later, timeout=10)
    for job_id in cursed:
        assert (await load(refusing, job_id)).state == "available"
        assert len(named(caplog, job_id)) == 1, "once, not with every fetch"
        assert "P0001" in named(caplog, job_id)[0]
    assert failed_steps(caplog) == []


async def test_behind_the_place_of_the_last_fetch_the_one_that_is_refused_is_left_out(refusing: AsyncEngine) -> None:
    ids = await insert(refusing, *(work.options(meta=CURSED if n == 3 else {}).new() for n in range(5)))
    [[priority, at]] = await execute(refusing, "SELECT priority, scheduled_at FROM oban_jobs WHERE id = :id", id=ids[2])
    lane, refusals = Lane(Line(refusing, pooled=False), "fetching"), Refusals()
    place: dict[str, Any] = {"priority": priority, "scheduled_at": at, "id": ids[2]}
    fetch = Batches(lane, refusals, 10, shielded=False)
    for _ in range(5):
        await fetch.run(FETCH_ONWARD, 10, queue="default", attempted_by=["here", "it"], unknown=[], **place)
    await lane.close()
    assert refusals.ids() == [str(ids[3])]
    taken = await execute(refusing, "SELECT id FROM oban_jobs WHERE state = 'executing' ORDER BY id")
    assert [row.id for row in taken] == [*ids[:3], ids[4]]


async def test_a_refused_job_of_a_queue_with_limits_holds_up_no_other_one(
    refusing: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "oban_sqla")
    queues = {
        "rated": Queue(10, global_limit=8, rate_limit=RateLimit(10_000, 1)),
        "parted": Queue(10, partition=Partition("args.key", limit=3)),
    }
    # In the second queue all of them lack a key, too, which the fetch or the leader gives them.
    mixed = """
        INSERT INTO oban_jobs (worker, queue, args, meta, partition_key)
        SELECT 'refused.work', q, '{}', CASE WHEN i % 20 = 7 THEN '{"cursed": "yes"}' ELSE '{}' END::jsonb,
               CASE WHEN i % 2 = 0 THEN '?' END
          FROM unnest(ARRAY['rated', 'parted']) q, generate_series(1, 60) i"""
    await execute(refusing, mixed)
    state = "SELECT queue, state::text, count(*) FROM oban_jobs GROUP BY 1, 2 ORDER BY 1, 2"
    expected = [("parted", "available", 3), ("parted", "completed", 57)]
    expected += [("rated", "available", 3), ("rated", "completed", 57)]
    async with Oban(refusing, queues=queues, poll_interval=0.05):

        async def all_others_are_done() -> bool:
            found = [tuple(row) for row in await execute(refusing, state)]
            assert found == expected, found
            return True

        await eventually(all_others_are_done, timeout=20)
    for [job_id] in await execute(refusing, "SELECT id FROM oban_jobs WHERE state = 'available'"):
        assert len(named(caplog, job_id)) == 1


async def test_a_constraint_that_one_row_breaks_holds_up_no_other(any_engine: AsyncEngine) -> None:
    ids = await insert(any_engine, *(work.options(priority=number % 3).new() for number in range(30)))
    await execute(any_engine, f"ALTER TABLE oban_jobs ADD CONSTRAINT small CHECK (id <> {ids[7]}) NOT VALID")
    try:
        async with Oban(any_engine, queues={"default": 30}, poll_interval=0.05):
            await finished(any_engine, ids[:7] + ids[8:], timeout=10)
            assert (await load(any_engine, ids[7])).state == "available"
    finally:
        await execute(any_engine, "ALTER TABLE oban_jobs DROP CONSTRAINT small")


@pytest.mark.parametrize("leads", [True, False])
async def test_a_scheduled_job_that_a_trigger_refuses_holds_up_no_other_of_any_queue(
    refusing: AsyncEngine, leads: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "oban_sqla")
    [cursed] = await insert(refusing, work.options(meta=CURSED, schedule_in=0.01).new())
    ids = await insert(
        refusing,
        *(work.options(queue=queue, schedule_in=0.02).new() for queue in ("default", "other") for _ in range(20)),
    )
    if not leads:  # another node holds the lease, and does nothing
        await execute(
            refusing,
            "INSERT INTO oban_leaders (name, node, elected_at, expires_at) VALUES "
            "('oban_sqla:Oban', 'elsewhere', timezone('UTC', now()), timezone('UTC', now()) + interval '1 hour')",
        )
    async with Oban(refusing, queues={"default": 10, "other": 10}, poll_interval=0.05) as oban:
        await finished(refusing, ids, timeout=15)
        assert oban.is_leader == leads
        assert (await load(refusing, cursed)).state == "scheduled"
    assert len(named(caplog, cursed)) == 1
    assert failed_steps(caplog) == []


async def test_the_jobs_of_dead_nodes_are_rescued_although_a_trigger_refuses_one(
    refusing: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "oban_sqla")
    uuid = await producer(refusing)
    ids = [await executing(refusing, uuid, meta="""'{"cursed": "yes"}'""")]
    ids += [await executing(refusing, uuid) for _ in range(10)]
    async with Oban(refusing, **QUICK):
        for job_id in ids[1:]:
            await until(refusing, job_id, "available", timeout=15)
    assert (await load(refusing, ids[0])).state == "executing"
    assert len(named(caplog, ids[0])) == 1


async def test_a_job_that_may_not_be_deleted_keeps_no_other_from_being_pruned(refusing: AsyncEngine) -> None:
    await execute(refusing, "ALTER TABLE oban_jobs DISABLE TRIGGER refuse")
    ids = await insert(refusing, work.options(meta=CURSED).new(), *(work.new() for _ in range(10)))
    await execute(
        refusing,
        "UPDATE oban_jobs SET state = 'completed', completed_at = timezone('UTC', now()) - interval '1 hour'"
        " - id * interval '1 second'",
    )
    await execute(refusing, "ALTER TABLE oban_jobs ENABLE TRIGGER refuse")

    async def left() -> list[int]:
        return [row.id for row in await execute(refusing, "SELECT id FROM oban_jobs")]

    async with Oban(refusing, prune=Prune(max_age=60, interval=0.1)):

        async def only_the_refused() -> bool:
            assert await left() == ids[:1]
            return True

        await eventually(only_the_refused)


async def test_the_errors_of_a_job_that_fails_again_and_again_stay_small(any_engine: AsyncEngine) -> None:
    [job_id] = await insert(any_engine, fail.options(max_attempts=30_000).new())
    entry = "jsonb_build_object('attempt', n, 'error', (SELECT string_agg(md5((n * m)::text), '') FROM %s m))"
    await execute(
        any_engine,
        f"UPDATE oban_jobs SET errors = (SELECT jsonb_agg({entry % 'generate_series(1, 60)'} ORDER BY n)"
        " FROM generate_series(1, 1000) n)",
    )
    async with Oban(any_engine, queues={"default": 1}, poll_interval=0.05):
        failed = await until(any_engine, job_id, "retryable")
    assert 100 < len(failed.errors) < 400
    assert "again" in failed.errors[-1]["error"]
    assert [entry["attempt"] for entry in failed.errors[-3:-1]] == [999, 1000], "the last ones are kept, in order"
