"""Keys take turns whatever waits behind them, and their limits are exact while everything changes."""

from __future__ import annotations

import json
import random
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from oban_sqla import Oban, Partition, Queue, RateLimit, SchemaOutdated, Unique, Workflow
from oban_sqla.runtime import limited
from oban_sqla.runtime.refusals import Refusals
from oban_sqla.runtime.unfit import Unfit
from oban_sqla.statements.limits import VISITS, as_array, fetch_limited, partition_by
from tests.limits import jobs
from tests.limits.helpers import add, all_done, count, nodes
from tests.limits.jobs import brief, held
from tests.runtime.helpers import execute, insert, wake
from tests.support import eventually

BACKLOG = """
INSERT INTO oban_jobs (worker, queue, args, partition_key)
SELECT 'limits.brief', 'default', jsonb_build_object('key', {key}), {mark} FROM generate_series(1, :jobs) i"""


@pytest.fixture(autouse=True)
def _fresh() -> None:
    jobs.reset()


async def backlog(engine: AsyncEngine, number: int, key: str = "0", mark: str = "'?'") -> None:
    """Jobs as another program inserts them, which knows of no partition."""
    await execute(engine, BACKLOG.format(key=key, mark=mark), jobs=number)


async def partition(engine: AsyncEngine, *fields: str) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(
            lambda sync: partition_by.execute(sync, queues=["default"], fields=[as_array(fields)]).all()
        )


async def keyed(engine: AsyncEngine, number: int, key: str = "0") -> None:
    """Jobs as this package inserts them, with their keys."""
    epoch = "(SELECT epoch FROM oban_partitions WHERE queue = 'default')"
    await backlog(engine, number, key, f"{epoch} || '|[' || ({key}) || ']'")


@pytest.fixture
async def tenants(engine: AsyncEngine) -> AsyncEngine:
    """A thousand tenants with a few jobs each, behind one with 10,000."""
    await partition(engine, "args.key")
    await keyed(engine, 10_000)
    await keyed(engine, 3_000, "1 + i % 1000")
    return engine


def given(demand: int, ring_at: str | None = None, **limits: Any) -> dict[str, Any]:
    unlimited = dict.fromkeys(("global_limit", "allowed", "period", "part_limit", "part_allowed", "part_period"), None)
    fixed = {
        "queue": "default",
        "attempted_by": ["node", "uuid"],
        "unknown": [],
        "refused": [],
        "visits": VISITS,
        "parted": True,
    }
    kept = {"bucket": False, "part_bucket": False, "burst": False}
    return {**unlimited, **fixed, **kept, "limit": demand, "ring_at": ring_at, **limits}


async def fetched(engine: AsyncEngine, demand: int, ring_at: str | None, **limits: Any) -> tuple[list[Any], str | None]:
    """The keys of the jobs that a fetch takes, and where the next one begins."""
    async with engine.begin() as connection:
        rows = await connection.run_sync(
            lambda sync: fetch_limited.execute(sync, **given(demand, ring_at, **limits)).all()
        )
    for row in rows:
        ring_at = [*row][-3] or ring_at
    return [json.loads(row.args)["key"] for row in rows if row[0] is not None], ring_at


async def test_every_tenant_has_its_turn_in_the_first_lap_whatever_one_of_them_has_waiting(
    tenants: AsyncEngine,
) -> None:
    await keyed(tenants, 90_000)
    picks: list[Any] = []
    ring_at = None
    for _ in range(2 * 1001 // 20 + 1):  # two laps of one job each
        keys, ring_at = await fetched(tenants, 20, ring_at)
        picks += keys
        if len(set(picks)) == 1001:
            break
    assert len(set(picks)) == 1001, "each had a job within two laps"
    assert Counter(picks)[0] <= 4, "and the large one no more than others"


async def test_what_a_fetch_reads_does_not_grow_with_the_backlog_of_one_tenant(tenants: AsyncEngine) -> None:
    async def buffers(**limits: Any) -> int:
        """Read by one fetch, which is undone."""
        async with tenants.connect() as connection:

            def run(sync: Any) -> int:
                transaction = sync.begin()
                try:
                    fetch_limited.execute(sync, **given(20, **limits)).all()  # what the catalog says is cached now
                    before = read(sync)
                    fetch_limited.execute(sync, **given(20, **limits)).all()
                    return read(sync) - before
                finally:
                    transaction.rollback()

            def read(sync: Any) -> int:
                of = "{oban_jobs,oban_jobs_ring_index,oban_jobs_ring_executing_index,oban_jobs_fetch_index}"
                sql = f"SELECT sum(pg_stat_get_xact_blocks_fetched(c)) FROM unnest('{of}'::regclass[]) c"
                return int(sync.exec_driver_sql(sql).scalar())

            return await connection.run_sync(run)

    fair, limited = await buffers(), await buffers(part_limit=3)
    await keyed(tenants, 90_000)
    # The indexes are one level higher, which each of some fifty descents reads.
    assert await buffers() < 1.5 * fair
    assert await buffers(part_limit=3) < 1.5 * limited


async def test_no_key_exceeds_its_limit_while_urgent_jobs_jump_the_queue(
    engine: AsyncEngine, database_url: str
) -> None:
    limits = Queue(limit=10, global_limit=7, partition=Partition("args.key", limit=2))
    async with nodes(database_url, *[limits] * 4) as obans:
        for number in range(40):
            specs = [brief.options(priority=random.randrange(9)).new(key % 5, 0.003) for key in range(10)]
            await add(engine, specs, *obans)
            if number % 10 == 0:
                await backlog(engine, 10, "i % 5")
        await all_done(engine)
    assert max(most for key, most in jobs.most.items() if key != jobs.ALL) == 2
    assert jobs.most[jobs.ALL] <= 7
    assert Counter(Counter(job_id for _, job_id in jobs.starts).values()) == {1: 440}


async def test_more_urgent_jobs_start_first_whatever_their_key(engine: AsyncEngine, database_url: str) -> None:
    specs = [brief.options(priority=priority).new([priority, key]) for priority in (3, 0, 5) for key in range(3)]
    await insert(engine, *specs)
    async with nodes(database_url, Queue(limit=1, partition=Partition("args.key"))):
        await all_done(engine)
    assert [str(key)[1] for key, _ in jobs.starts] == [*"000333555"]


async def test_a_key_bursts_while_no_other_asks_for_the_room(engine: AsyncEngine, database_url: str) -> None:
    limits = Queue(limit=10, global_limit=6, partition=Partition("args.key", limit=2, burst=True))
    async with nodes(database_url, limits) as [oban]:
        await add(engine, (held.new("a") for _ in range(10)), oban)
        await eventually(lambda: jobs.running["a"] == 6)
        jobs.gate.set()
        await all_done(engine)
        jobs.reset()
        await insert(engine, *(held.new(key) for key in "ab" for _ in range(10)))
        wake(oban, "default")
        await eventually(lambda: jobs.running[jobs.ALL] == 6)
        assert min(jobs.running["a"], jobs.running["b"]) >= 2
        jobs.gate.set()
        await all_done(engine)


async def test_another_by_takes_effect_while_jobs_run_and_wait(engine: AsyncEngine, database_url: str) -> None:
    """What runs counts for its new key at once, and waiting jobs get theirs while fetching goes on."""
    limits = Queue(limit=12, partition=Partition("args.key", limit=2))
    await partition(engine, "args.key")
    await keyed(engine, 20_000, "i % 2")
    async with nodes(database_url, *[limits] * 2) as obans:
        await eventually(lambda: len(jobs.starts) > 100)
        await obans[0].scale_queue("default", partition=Partition("worker", limit=3))
        await eventually(lambda: all(_limit(oban) == 3 for oban in obans))
        await eventually(lambda: jobs.running[jobs.ALL] <= 3)
        jobs.most.clear()
        before = len(jobs.starts)
        await eventually(lambda: len(jobs.starts) > before + 300)
        assert jobs.most[jobs.ALL] == 3, "one key for all"
        await execute(engine, "DELETE FROM oban_jobs WHERE state = 'available' AND id % 10 <> 0")
        await obans[0].scale_queue("default", partition=None)
        await all_done(engine)
    assert set(Counter(job_id for _, job_id in jobs.starts).values()) == {1}, "each ran once"


def _limit(oban: Oban) -> int | None:
    assert oban._node is not None
    now = oban._node.producers["default"].options.partition
    return None if now is None else now.limit


async def test_waiting_jobs_of_a_queue_without_partitions_follow_when_it_gets_some(
    engine: AsyncEngine, database_url: str
) -> None:
    await insert(engine, *(brief.new(number % 3) for number in range(30)))
    assert await count(engine, "partition_key IS NULL") == 30
    await backlog(engine, 5_000, "i % 3", "NULL")
    async with nodes(database_url, Queue(limit=20, partition=Partition("args.key", limit=4))):
        await all_done(engine)
    assert max(most for key, most in jobs.most.items() if key != jobs.ALL) <= 4


async def test_jobs_that_wait_for_their_time_or_for_others_follow_at_once_too(
    engine: AsyncEngine, database_url: str
) -> None:
    flow = Workflow("waits")
    first = flow.add(brief.options(schedule_in=3600).new(1))
    flow.add(brief.new(2), name="second", after=[first])
    async with AsyncSession(engine) as session, session.begin():
        session.add(flow)
    await insert(engine, brief.new(3))
    later = "UPDATE oban_jobs SET state = 'retryable', scheduled_at = now() + interval '1 hour'"
    await execute(engine, later + " WHERE (args ->> 'key')::int = 3")
    async with nodes(database_url, Queue(limit=20, partition=Partition("args.key", limit=4))) as [oban]:
        await eventually(lambda: _all_have_keys(engine))
        await oban.scale_queue("default", partition=Partition("worker"))
        await eventually(lambda: _all_have_keys(engine, '%["limits.brief"]'))


async def _all_have_keys(engine: AsyncEngine, like: str = "%") -> bool:
    rows: list[Any] = await execute(
        engine, "SELECT DISTINCT state::text, partition_key LIKE :like FROM oban_jobs", like=like
    )
    return sorted((row[0], row[1]) for row in rows) == [("retryable", True), ("scheduled", True), ("suspended", True)]


async def test_a_job_that_changes_its_arguments_counts_for_its_new_key(engine: AsyncEngine, database_url: str) -> None:
    async with nodes(database_url, Queue(limit=10, partition=Partition("args.key", limit=1))) as [oban]:
        await add(engine, [held.new("a"), held.new("a"), held.new("a")], oban)
        await eventually(lambda: jobs.running["a"] == 1)
        [moved, by_hand] = await execute(engine, "SELECT id FROM oban_jobs WHERE state = 'available' ORDER BY id")
        await oban.update(moved[0], args={"key": "b"})
        await eventually(lambda: jobs.running["b"] == 1)
        await execute(engine, 'UPDATE oban_jobs SET args = \'{"key": "c"}\' WHERE id = :id', id=by_hand[0])
        wake(oban, "default")
        await eventually(lambda: jobs.running["c"] == 1)
        jobs.gate.set()
        await all_done(engine)


async def test_a_job_that_changes_its_meta_counts_for_its_new_key(engine: AsyncEngine, database_url: str) -> None:
    once = Unique(keys=["key"], replace=("meta",))
    of_tenant = [held.options(meta={"tenant": n}, unique=once) for n in (1, 2, 3)]
    async with nodes(database_url, Queue(limit=10, partition=Partition("meta.tenant", limit=1))) as [oban]:
        first, updated, replaced = [of_tenant[0].new(key) for key in "abc"]
        await add(engine, [first], oban)
        await eventually(lambda: jobs.running["a"] == 1)
        await add(engine, [updated, replaced], oban)
        await oban.update(updated, meta={"tenant": 2})
        await eventually(lambda: jobs.running["b"] == 1)
        await add(engine, [of_tenant[2].new("c")], oban)
        await eventually(lambda: jobs.running["c"] == 1)
        assert await count(engine, "partition_key LIKE '%[3]'") == 1
        jobs.gate.set()
        await all_done(engine)


async def test_a_key_that_is_long_or_missing_is_a_key(engine: AsyncEngine, database_url: str) -> None:
    async with nodes(database_url, Queue(limit=20, partition=Partition(["meta.a.b", "args.key"], limit=1))) as [oban]:
        long = "é" * 3_000
        specs = [held.new(key) for key in (long, long, long + "x", None, None, {"x": [1]}, {"x": [1]})]
        specs += [held.options(meta={"a": {"b": 1}}).new(None), held.options(meta={"a": 1}).new(None)]
        await add(engine, specs, oban)
        await eventually(lambda: jobs.running[jobs.ALL] == 5)
        assert await count(engine, "state = 'available'") == 4
        assert oban.check_queue("default") is not None
        jobs.gate.set()
        await all_done(engine)


async def test_a_rate_of_a_key_holds_up_no_other_key(engine: AsyncEngine, database_url: str) -> None:
    limits = Queue(limit=5, partition=Partition("args.key", rate_limit=RateLimit(3, 3600)))
    async with nodes(database_url, limits) as [oban]:
        await add(engine, [brief.new(0) for _ in range(500)] + [brief.new(key) for key in range(1, 150)], oban)
        await eventually(lambda: len(jobs.starts) == 152)
        assert Counter(key for key, _ in jobs.starts)[0] == 3
        assert await oban.limiter("default", 1).available() == 2


async def test_a_fetch_that_has_looked_at_as_many_keys_as_it_may_goes_on_at_once(
    engine: AsyncEngine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limited, "VISITS", 2)
    monkeypatch.setattr(limited, "LOOK_EVERY", 600.0)
    queue = Queue(limit=20, partition=Partition("args.key", limit=1))
    async with nodes(database_url, queue, poll_interval=600) as [oban]:
        await add(engine, [held.new(key) for key in range(7)], oban)
        await eventually(lambda: len(jobs.starts) == 7)
        await add(engine, [*(held.new(key) for key in range(7)), brief.new(9)], oban)
        await eventually(lambda: jobs.starts[7:] and jobs.starts[7][0] == 9)
        jobs.gate.set()


def test_a_lap_over_all_keys_ends_where_it_has_begun() -> None:
    lane: Any = None
    given: dict[str, Any] = {"attempted_by": ["here", "it"], "lane": lane, "unfit": Unfit(), "refusals": Refusals()}
    fetcher = limited.LimitedFetcher(queue="default", options=Queue(global_limit=1), **given)

    def goes_on(*places: str) -> list[bool]:
        found: list[bool] = []
        for before, fetcher._ring_at in pairwise(places):
            found.append(fetcher._goes_on(before, False))
        return found

    assert goes_on("a", "c", "e", "b", "c") == [True, True, True, False]
    assert goes_on("d", "f", "b", "d") == [True, True, True], "the next one begins at another place"
    fetcher._ring_at = "g"
    assert fetcher._goes_on("e", True), "what was found begins a lap"
    fetcher._lap_from = None
    assert goes_on("w", "z", "x", "b") == [True, True, False], "also where the place lies behind the last key"


async def test_a_partition_needs_its_indexes(engine: AsyncEngine, database_url: str) -> None:
    await execute(engine, "DROP INDEX oban_jobs_ring_executing_index")
    try:
        with pytest.raises(SchemaOutdated, match="lacks oban_jobs_ring_executing_index; run `oban-sqla migrate`"):
            async with nodes(database_url, Queue(partition=Partition("worker"))):
                pass
        async with nodes(database_url, Queue(global_limit=3)) as [oban]:
            with pytest.raises(SchemaOutdated, match="oban_jobs_ring_executing_index"):
                await oban.scale_queue("default", partition=Partition("worker"))
    finally:
        await execute(
            engine,
            "CREATE INDEX oban_jobs_ring_executing_index ON oban_jobs (queue, partition_key) "
            "WHERE state = 'executing' AND partition_key IS NOT NULL",
        )


async def test_a_session_that_enqueues_need_not_know_of_partitions(sync_engine: Any, engine: AsyncEngine) -> None:
    from sqlalchemy.orm import Session

    await partition(engine, "worker", "args.key")
    with Session(sync_engine) as session:
        session.add(brief.new(7))
        session.commit()
        session.add_all(brief.new(key) for key in (8, 9))
        session.commit()
    async with AsyncSession(engine) as session_:
        session_.add(brief.options(queue="other").new(7))
        await session_.commit()
    keys = await execute(engine, "SELECT partition_key FROM oban_jobs ORDER BY id")
    assert [key and key.partition("|")[2] for (key,) in keys] == [
        '["limits.brief", 7]', '["limits.brief", 8]', '["limits.brief", 9]', None,
    ]  # fmt: skip
