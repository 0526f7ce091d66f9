"""A limit of the whole cluster is never exceeded, and never leaves a slot unused for long."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import Oban, Queue
from oban_sqla.runtime.lanes.failure import StatementFailed
from oban_sqla.runtime.lanes.lane import Lane
from oban_sqla.statements.limits import make_durable
from oban_sqla.statements.statement import Statement
from tests.limits import jobs
from tests.limits.helpers import add, all_done, count, nodes
from tests.limits.jobs import brief, held
from tests.support import eventually


@pytest.fixture(autouse=True)
def _fresh() -> None:
    jobs.reset()


async def test_two_nodes_run_no_more_than_the_cluster_may_and_never_stand_still(
    engine: AsyncEngine, database_url: str
) -> None:
    await add(engine, (brief.new() for _ in range(2_000)))
    began = time.monotonic()
    async with nodes(database_url, *[Queue(limit=20, global_limit=5)] * 2):
        await all_done(engine, timeout=60)
    assert jobs.most[jobs.ALL] <= 5
    # Where a short fetch means that nothing is there, each batch waits for a poll: minutes.
    assert time.monotonic() - began < 30, "a short fetch means full, not empty"


async def test_jobs_that_jump_the_queue_exceed_no_limit(engine: AsyncEngine, database_url: str) -> None:
    """Two fetches that count at once pick different jobs when a more urgent one was committed between them."""
    limits = Queue(limit=10, global_limit=3)
    async with nodes(database_url, *[limits] * 4) as obans:
        for _ in range(40):
            urgent = (brief.options(priority=random.randrange(9)).new(0, 0.002) for _ in range(10))
            await add(engine, urgent, *obans)
        await all_done(engine)
    assert jobs.most[jobs.ALL] == 3
    assert len(jobs.starts) == 400, "each ran once"


async def test_a_limit_is_lowered_raised_and_lifted_while_jobs_run(any_engine: AsyncEngine, database_url: str) -> None:
    async with nodes(database_url, *[Queue(limit=10, global_limit=4)] * 2) as obans:
        operator = Oban(any_engine, node="operator")
        await add(any_engine, (held.new() for _ in range(40)), *obans)
        await eventually(lambda: jobs.running[jobs.ALL] == 4)
        await operator.scale_queue("default", global_limit=6)
        await eventually(lambda: jobs.running[jobs.ALL] == 6)
        await operator.scale_queue("default", global_limit=2)
        await eventually(
            lambda: all(info.queue and _global(oban) == 2 for oban in obans for info in oban.check_queues())
        )
        ended = len(jobs.starts)
        jobs.most.clear()
        jobs.gate.set()
        await eventually(lambda: len(jobs.starts) == 40)
        assert ended == 6
        assert jobs.most[jobs.ALL] <= 6
        await all_done(any_engine)
        jobs.reset()
        await operator.scale_queue("default", global_limit=None)
        await add(any_engine, (held.new() for _ in range(30)), *obans)
        await eventually(lambda: jobs.running[jobs.ALL] == 20)
        jobs.gate.set()
        await all_done(any_engine)


def _global(oban: Oban) -> int | None:
    assert oban._node is not None
    return oban._node.producers["default"].options.global_limit


async def test_what_was_asked_of_limits_overrides_what_a_later_node_is_configured_with(
    engine: AsyncEngine, database_url: str
) -> None:
    async with nodes(database_url, Queue(limit=10, global_limit=4)) as [oban]:
        await oban.scale_queue("default", global_limit=2, limit=7)
    async with nodes(database_url, Queue(limit=10, global_limit=4)) as [oban]:
        await add(engine, (held.new() for _ in range(10)), oban)
        await eventually(lambda: jobs.running[jobs.ALL] == 2)
        await oban.scale_queue("default", limit=None)
        assert (info := oban.check_queue("default")) is not None
        assert (info.limit, _global(oban)) == (10, 2), "what is left out stays as it is"
        jobs.gate.set()
        await all_done(engine)
    assert jobs.most[jobs.ALL] == 2


async def test_while_nodes_disagree_the_larger_limit_holds(engine: AsyncEngine, database_url: str) -> None:
    async with nodes(database_url, Queue(limit=10, global_limit=2), Queue(limit=10, global_limit=5)) as obans:
        await add(engine, (brief.new(0, 0.02) for _ in range(150)), *obans)
        await all_done(engine)
    assert jobs.most[jobs.ALL] == 5


async def test_only_jobs_of_the_limited_queue_wait(engine: AsyncEngine, database_url: str) -> None:
    queues = {"default": Queue(limit=10, global_limit=1), "plain": Queue(limit=10)}
    async with nodes(database_url, Queue(), queues=queues) as [oban]:
        await add(engine, [held.new() for _ in range(3)], oban)
        await eventually(lambda: jobs.running[jobs.ALL] == 1)
        await add(engine, [brief.options(queue="plain").new("plain") for _ in range(20)])
        await eventually(lambda: sum(key == "plain" for key, _ in jobs.starts) == 20)
        assert await count(engine, "queue = 'default' AND state = 'available'") == 2
        jobs.gate.set()
        await all_done(engine)


async def test_no_job_begins_before_a_crash_can_not_take_back_its_fetch(
    engine: AsyncEngine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = Lane.run_unshielded
    lost: list[Any] = []

    async def lose_the_first(lane: Lane, statement: Statement, /, **given: Any) -> Any:
        if statement is make_durable and not lost:
            lost.extend(given["ids"])
            assert not jobs.starts
            raise StatementFailed("make_durable", TimeoutError("the disk is slow"), None, unknown=False)
        return await send(lane, statement, **given)

    monkeypatch.setattr(Lane, "run_unshielded", lose_the_first)
    ids = await add(engine, [brief.new() for _ in range(3)])
    async with nodes(database_url, Queue(limit=3, global_limit=3)):
        await all_done(engine)
    assert sorted(map(int, lost)) == ids
    assert sorted(started for _, started in jobs.starts) == ids, "each was given back and has begun once"
    assert await count(engine, "attempt = 1") == 3
