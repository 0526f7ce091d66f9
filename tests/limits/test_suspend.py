"""The other side said 429: nothing of the key, or of the queue, starts before then, on any node."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from oban_sqla import InvalidOption, JobSpec, Oban, Partition, Queue, RateLimit, Snooze, telemetry
from tests.limits import jobs
from tests.limits.helpers import add, all_done, count, nodes, suspended
from tests.limits.jobs import brief, refused
from tests.runtime.helpers import execute
from tests.support import eventually


@pytest.fixture(autouse=True)
def _fresh() -> None:
    jobs.reset()


async def test_a_snooze_suspends_its_partition_on_every_node_and_no_other(
    engine: AsyncEngine, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[dict[str, object]] = []
    queue = Queue(limit=10, partition=Partition("args.key", limit=5))
    telemetry.attach("test", ["oban.queue.suspend"], lambda name, fields: events.append(dict(fields)))
    telemetry.attach_default_logger()
    caplog.set_level(logging.DEBUG, "oban_sqla")
    try:
        async with nodes(database_url, *[queue] * 2) as obans:
            await add(engine, [refused.new("a", 3600)], *obans)
            await eventually(lambda: events)
            await add(engine, [brief.new(key) for key in "abcd" for _ in range(20)], *obans)
            await eventually(lambda: len(jobs.starts) == 61)
            assert Counter(key for key, _ in jobs.starts) == {"a": 1, "b": 20, "c": 20, "d": 20}
            assert await count(engine, "state = 'available'") == 20
            await obans[1].limiter("default", "a").reset()
            await eventually(lambda: len(jobs.starts) == 81)
    finally:
        telemetry.detach("test")
        telemetry.detach_default_logger()
    said = [record.getMessage() for record in caplog.records if "suspend" in record.getMessage()]
    assert len(said) == 2, "an event and a line"
    assert not any("[" in line for line in said), "a key is an argument, which no log has"
    assert [(event["queue"], event["key"]) for event in events] == [("default", '["a"]')]
    assert events[0]["seconds"] == pytest.approx(3600, abs=5)


@pytest.mark.parametrize("worker", ["refused_in_child", "refused_in_session"])
async def test_a_snooze_suspends_from_a_child_process_and_from_a_job_with_a_session(
    engine: AsyncEngine, database_url: str, worker: str
) -> None:
    queue = Queue(limit=5, partition=Partition("args.key"))
    async with nodes(database_url, queue, sessionmaker=async_sessionmaker(engine)) as [oban]:
        await add(engine, [JobSpec(f"limits.{worker}", {"key": "a"}, queue="default")], oban)
        await suspended(engine, "key LIKE '%[\"a\"]'")
        await eventually(lambda: _is(engine, "scheduled"))
        await add(engine, [brief.new("a"), brief.new("b")], oban)
        await eventually(lambda: jobs.starts)
    assert [key for key, _ in jobs.starts] == ["b"]


async def _is(engine: AsyncEngine, state: str) -> bool:
    return await count(engine, f"state = '{state}'") == 1


async def test_nothing_of_the_key_starts_before_then_and_it_goes_on_by_itself(
    engine: AsyncEngine, database_url: str
) -> None:
    queue = Queue(limit=10, partition=Partition("args.key", limit=5))
    async with nodes(database_url, *[queue] * 2) as obans:
        await add(engine, [refused.new("a", 1.5)], *obans)
        await suspended(engine)
        await add(engine, [brief.new("a") for _ in range(20)], *obans)
        await eventually(lambda: len(jobs.starts) > 20)
    late = (
        "SELECT (SELECT min(attempted_at) FROM oban_jobs WHERE worker = 'limits.brief') - inserted_at FROM oban_jobs "
    )
    [(waited,)] = await execute(engine, late + "WHERE worker = 'limits.refused'")
    assert waited >= timedelta(seconds=1.5)


@pytest.mark.parametrize(
    "queue", [Queue(limit=5), Queue(limit=5, global_limit=8), Queue(partition=Partition("worker"))]
)
async def test_a_whole_queue_is_suspended_until_it_is_reset(
    engine: AsyncEngine, database_url: str, queue: Queue
) -> None:
    async with nodes(database_url, *[queue] * 2) as obans:
        await add(engine, [refused.new(0, 3600, "queue")], *obans)
        await eventually(lambda: jobs.starts)
        await suspended(engine, "key = ''")
        if not queue.is_limited:
            await eventually(lambda: all(_until(oban) for oban in obans))
        await add(engine, (brief.new() for _ in range(10)), *obans)
        await add(engine, [brief.options(queue="other").new()])
        for oban in obans:
            await oban.resume_queue("default")  # each has looked again since, and so has each fetch
        assert await count(engine, "worker = 'limits.brief' AND state = 'available'") == 11
        await obans[0].limiter("default").reset()
        await eventually(lambda: len(jobs.starts) == 11)


def _until(oban: Oban) -> bool:
    assert oban._node is not None
    return oban._node.producers["default"]._is_suspended


async def test_a_node_that_does_not_listen_sees_a_suspended_queue_within_a_second(
    engine: AsyncEngine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oban_sqla.runtime.control.LOOK_EVERY", 1_000.0)
    async with nodes(database_url, Queue(limit=5), notify="off", poll_interval=3_600.0) as [oban]:
        await Oban(engine, node="elsewhere", notify="off").limiter("default").suspend(3600)
        await eventually(lambda: _until(oban))
        await oban.enqueue(brief.new())
        await add(engine, [brief.new()], oban)
        assert jobs.starts == []
        assert await count(engine, "state = 'available'") == 2


async def test_a_queue_is_suspended_from_outside_for_seconds_or_until_a_time(
    any_engine: AsyncEngine, database_url: str
) -> None:
    async with nodes(database_url, Queue(limit=5, rate_limit=RateLimit(100, 60))) as [oban]:
        limiter = Oban(any_engine, node="web").limiter("default")
        await limiter.suspend(datetime.now(UTC) + timedelta(hours=1))
        assert await limiter.available() == 0
        assert not await limiter.consume()
        await limiter.suspend(1)
        assert await limiter.available() == 0, "a longer suspension is not shortened"
        await limiter.reset()
        assert await limiter.available() == 100
        [[before]] = await execute(any_engine, "SELECT clock_timestamp() AT TIME ZONE 'UTC'")
        await limiter.suspend(timedelta(seconds=0.7))
        await add(any_engine, [brief.new()], oban)
        await all_done(any_engine)
    [[started]] = await execute(any_engine, "SELECT attempted_at FROM oban_jobs")
    assert started - before > timedelta(seconds=0.6)


async def test_what_can_not_be_a_suspension_is_refused(engine: AsyncEngine) -> None:
    with pytest.raises(InvalidOption, match='suspend must be "queue" or "partition", got \'all\''):
        Snooze(3, suspend="all")  # type: ignore[arg-type]
    limiter = Oban(engine).limiter("default")
    with pytest.raises(InvalidOption, match="suspend"):
        await limiter.suspend(-1)
    with pytest.raises(InvalidOption, match="suspend"):
        await limiter.suspend(datetime(2026, 1, 1))
    with pytest.raises(InvalidOption, match="has no partition"):
        await Oban(engine).limiter("default", 7).suspend(3)
