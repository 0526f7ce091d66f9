"""Rates of the whole cluster: exact in every window, used to the full, and counted by weight."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from oban_sqla import InvalidOption, Oban, Partition, Queue, RateLimit
from tests.limits import jobs
from tests.limits.helpers import add, all_done, count, nodes, worst_window
from tests.limits.jobs import brief, refused
from tests.runtime.helpers import execute
from tests.support import eventually


@pytest.fixture(autouse=True)
def _fresh() -> None:
    jobs.reset()


async def test_no_window_has_more_starts_than_allowed_and_the_allowance_is_used(
    engine: AsyncEngine, database_url: str
) -> None:
    await add(engine, (brief.new() for _ in range(350)))
    async with nodes(database_url, *[Queue(limit=50, rate_limit=RateLimit(100, 2))] * 4):
        await all_done(engine)
    assert await worst_window(engine, 2) == 100
    took = "SELECT extract(epoch FROM max(attempted_at) - min(attempted_at))::float8 FROM oban_jobs"
    # 100 at once, 100 after each of the next two periods, and 50 in the third: 6 s at best, and 9 where it only polls.
    assert (await execute(engine, took))[0][0] < 8


async def test_a_partition_has_a_rate_beside_the_one_of_its_queue(engine: AsyncEngine, database_url: str) -> None:
    limits = Queue(
        limit=20, rate_limit=RateLimit(30, 0.5), partition=Partition("args.key", rate_limit=RateLimit(4, 0.5))
    )
    await add(engine, (brief.new(key) for key in range(10) for _ in range(12)))
    async with nodes(database_url, *[limits] * 3):
        await all_done(engine)
    assert await worst_window(engine, 0.5) <= 30
    assert await worst_window(engine, 0.5, by="args ->> 'key'") == 4


async def test_a_heavy_job_costs_its_weight_and_at_most_the_whole_allowance(
    engine: AsyncEngine, database_url: str
) -> None:
    weights = [1, 5, 2, 7, 100, 1, 3] * 3
    await add(engine, (brief.options(weight=weight).new() for weight in weights))
    async with nodes(database_url, *[Queue(limit=20, rate_limit=RateLimit(10, 0.3))] * 2):
        await all_done(engine)
    cost = "least(10, coalesce((meta ->> 'weight')::int, 1))"
    assert await worst_window(engine, 0.3, cost) <= 10
    ids = [job_id for _, job_id in jobs.starts]
    assert len(ids) == len(weights)
    order = await execute(engine, "SELECT id FROM oban_jobs ORDER BY attempted_at, id")
    assert [row[0] for row in order] == sorted(ids), "none overtakes a heavy job at the head"


async def test_a_token_bucket_lets_a_full_bucket_through_and_then_refills_evenly(
    engine: AsyncEngine, database_url: str
) -> None:
    await add(engine, (brief.new() for _ in range(25)))
    async with nodes(database_url, *[Queue(limit=20, rate_limit=RateLimit(10, 0.5, "token_bucket"))] * 2):
        await all_done(engine)
    assert 10 <= await worst_window(engine, 0.5) <= 20
    assert await worst_window(engine, 0.04) <= 11


async def test_a_snooze_and_a_retry_count_as_starts(engine: AsyncEngine, database_url: str) -> None:
    queue = Queue(limit=5, rate_limit=RateLimit(3, 3600))
    async with nodes(database_url, queue) as [oban]:
        await add(engine, [refused.new(0, 0.0, None)], oban)
        await eventually(lambda: len(jobs.starts) == 3)
        assert await oban.limiter("default").available() == 0
        assert await count(engine, "state = 'completed'") == 0
        await oban.limiter("default").reset()
        await eventually(lambda: len(jobs.starts) == 6)


async def test_work_outside_of_jobs_shares_the_rate_of_a_queue(any_engine: AsyncEngine, database_url: str) -> None:
    async with nodes(database_url, Queue(limit=5, rate_limit=RateLimit(5, 3600))) as [oban]:
        # Elsewhere nothing is configured: what the living nodes have counts.
        limiter = Oban(any_engine, node="web").limiter("default")
        assert await limiter.available() == 5
        assert await limiter.consume(3)
        assert not await limiter.consume(3), "nothing is counted of what is too much"
        assert await limiter.available() == 2
        await add(any_engine, (brief.new() for _ in range(4)), oban)
        await eventually(lambda: len(jobs.starts) == 2)
        assert await limiter.available() == 0
        await limiter.reset()
        await all_done(any_engine)
        assert await limiter.available() == 3


async def test_waits_of_several_connections_take_exactly_what_the_rate_allows(
    any_engine: AsyncEngine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oban_sqla.control.limiter.LOOK", 0.02)
    done: list[int] = []

    async def wait(oban: Oban, number: int) -> None:
        await oban.limiter("calls").wait()
        done.append(number)

    async def all_of(taken: int) -> None:
        await eventually(lambda: len(done) >= taken)

    async with AsyncExitStack() as stack:
        engines = [any_engine, *(create_async_engine(database_url) for _ in range(2))]
        for engine in engines[1:]:
            stack.push_async_callback(engine.dispose)
        obans = [Oban(engine, {"calls": Queue(rate_limit=RateLimit(4, 3600))}) for engine in engines]
        limiter = obans[0].limiter("calls")
        tasks = [asyncio.create_task(wait(obans[number % 3], number)) for number in range(12)]
        for taken in (4, 8, 12):
            await all_of(taken)
            assert (await limiter.available(), len(done)) == (0, taken)
            await limiter.reset()
        await asyncio.gather(*tasks)
    for one in range(3):
        own = [number for number in done if number % 3 == one]
        assert own == sorted(own), "those of a process take turns"


async def test_a_wait_ends_when_the_rate_allows_it(engine: AsyncEngine) -> None:
    oban = Oban(engine, {"calls": Queue(rate_limit=RateLimit(3, 0.1))})
    began = time.monotonic()
    await asyncio.gather(*(oban.limiter("calls").wait() for _ in range(5)), oban.limiter("calls").wait(2))
    assert 0.2 <= time.monotonic() - began < 5, "3 at once, and 2 after each of two periods"


async def test_a_limiter_says_in_how_many_seconds_it_allows_so_many_starts(engine: AsyncEngine) -> None:
    oban = Oban(
        engine,
        {"calls": Queue(rate_limit=RateLimit(5, 100)), "b": Queue(rate_limit=RateLimit(10, 100, "token_bucket"))},
    )
    sliding, bucket = oban.limiter("calls"), oban.limiter("b")
    assert (await sliding.delay(), await sliding.delay(5)) == (0, 0)
    assert await sliding.consume(4)
    assert await sliding.delay() == 0
    assert await sliding.delay(2) == pytest.approx(100, abs=1)
    # Of the two before the first entry nothing counts any more, and neither do the three of the first.
    times = "SELECT array_agg(extract(epoch FROM clock_timestamp()) - age) FROM unnest(ARRAY[150, 90, 50, 10]) age"
    await execute(engine, f"UPDATE oban_rates SET ns = '{{2, 5, 7, 9, 10}}', ts = ({times})")
    delays = [await sliding.delay(n) for n in range(1, 6)]
    assert delays == pytest.approx([10, 10, 50, 50, 90], abs=1)
    assert await bucket.consume(10)
    assert [await bucket.delay(n) for n in (1, 3, 10)] == pytest.approx([10, 30, 100], abs=1)
    await bucket.suspend(50)
    assert [await bucket.delay(n) for n in (1, 10)] == pytest.approx([50, 100], abs=1)


async def test_a_limiter_of_a_partition_that_no_node_has_made_says_so(engine: AsyncEngine) -> None:
    partition = Partition("args.tenant", rate_limit=RateLimit(2, 60))
    oban = Oban(engine, {"new": Queue(partition=partition)})
    limiter = oban.limiter("new", 7)
    assert (await limiter.available(), await limiter.delay(2)) == (2, 0)
    for ask in (limiter.consume(), limiter.wait(), limiter.suspend(5)):
        with pytest.raises(InvalidOption, match=r"no node has run queue 'new' with its partition .* or set it by"):
            await ask
    await oban.scale_queue("new", partition=partition)
    assert await limiter.consume(2)
    assert not await limiter.consume()


@pytest.mark.parametrize("hourly", [(8, 5), (5, 8)])
async def test_while_nodes_disagree_the_faster_rate_holds_for_work_outside_of_jobs(
    engine: AsyncEngine, hourly: tuple[int, int]
) -> None:
    rates = [{"rate_limit": RateLimit(allowed, 3600).as_json} for allowed in hourly]
    rates.append({"rate_limit": RateLimit(9, 7200).as_json})
    for number, meta in enumerate([*rates, {"local_limit": 5}]):
        await execute(
            engine,
            "INSERT INTO oban_producers (uuid, name, node, queue, meta)"
            f" VALUES (gen_random_uuid(), 'Oban', 'node-{number}', 'default', '{json.dumps(meta)}')".replace(
                ":", r"\:"
            ),
        )
    assert await Oban(engine, node="web").limiter("default").available() == 8


async def test_a_limiter_says_what_is_missing(engine: AsyncEngine, database_url: str) -> None:
    async with nodes(database_url, Queue(limit=5)) as [oban]:
        with pytest.raises(InvalidOption, match="queue 'default' has no rate_limit"):
            await oban.limiter("default").available()
        with pytest.raises(InvalidOption, match="queue 'default' has no partition"):
            await oban.limiter("default", 7).available()
        with pytest.raises(InvalidOption, match="expected a number of starts"):
            await oban.limiter("default").consume(0)
        await oban.scale_queue("default", rate_limit=RateLimit(2, 60))
        for ask in (oban.limiter("default").wait, oban.limiter("default").delay):
            with pytest.raises(InvalidOption, match="expected a number of starts, 1 or more, got 0"):
                await ask(0)
            with pytest.raises(InvalidOption, match="allows at most 2 starts in a period, and never 3"):
                await ask(3)
        await oban.scale_queue(
            "default", rate_limit=None, partition=Partition("args.pair", rate_limit=RateLimit(2, 60))
        )
        with pytest.raises(InvalidOption, match=r'expected one value; one that is a list.* list; got \[1,"x"\]'):
            await oban.limiter("default", [1, "x"]).consume()
        assert await oban.limiter("default", [[1, "x"]]).consume()
        await oban.scale_queue("default", partition=Partition(["args.a", "args.b"], rate_limit=RateLimit(2, 60)))
        with pytest.raises(InvalidOption, match="has no rate, but each key of its partition has one; name the key"):
            await oban.limiter("default").available()
        with pytest.raises(
            InvalidOption, match=r"partitioned by args\.a, args\.b; expected a list of 2 values; got \[7\]"
        ):
            await oban.limiter("default", 7).consume()
        assert await oban.limiter("default", [7, None]).consume(2)
        assert not await oban.limiter("default", [7, None]).consume()
        assert await oban.limiter("default", [7, 8]).consume()
        await oban.scale_queue("default", partition=Partition("worker", rate_limit=RateLimit(2, 60)))
        assert await oban.limiter("default", brief).consume(2)
        assert not await oban.limiter("default", brief.worker_name).consume()


async def test_a_rate_is_lowered_and_lifted_while_jobs_wait(engine: AsyncEngine, database_url: str) -> None:
    async with nodes(database_url, *[Queue(limit=10, rate_limit=RateLimit(5, 3600))] * 2) as obans:
        await add(engine, (brief.new() for _ in range(40)), *obans)
        await eventually(lambda: len(jobs.starts) == 5)
        await obans[0].scale_queue("default", rate_limit=RateLimit(8, 3600))
        await eventually(lambda: len(jobs.starts) == 8)
        await obans[0].scale_queue("default", rate_limit=None)
        await all_done(engine)
