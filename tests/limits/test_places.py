"""The same in a schema that is not the first of the search path, with either driver."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import Oban, Partition, Queue, RateLimit, migrations
from tests.doctor import conftest
from tests.limits import jobs
from tests.limits.helpers import suspended
from tests.limits.jobs import brief, refused
from tests.runtime.helpers import execute, insert
from tests.support import eventually


@pytest.fixture
async def apart(any_engine: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    """The same database, another schema."""
    jobs.reset()
    await migrations.migrate(any_engine, schema="apart")
    yield any_engine.execution_options(schema_translate_map={None: "apart"})
    await execute(any_engine, "DROP SCHEMA apart CASCADE")


async def test_all_limits_work_in_a_schema_of_another_name(apart: AsyncEngine) -> None:
    limits = Queue(
        limit=20,
        global_limit=4,
        rate_limit=RateLimit(1_000, 1),
        partition=Partition("args.key", limit=2, rate_limit=RateLimit(500, 1, "token_bucket")),
    )
    async with Oban(apart, queues={"default": limits, "other": 5}, poll_interval=0.1) as oban:
        first = await insert(apart, *(brief.new(number % 3, 0.005) for number in range(60)), refused.new("z", 3600))
        # Another program's rows have no key; an update of its arguments takes one away.
        await execute(apart, "INSERT INTO apart.oban_jobs (worker, args) VALUES ('limits.brief', '{\"key\": 2}')")
        await eventually(lambda: len(jobs.starts) == 62, timeout=20)
        assert max(most for key, most in jobs.most.items() if key != jobs.ALL) == 2
        assert jobs.most[jobs.ALL] == 4
        await suspended(apart, schema="apart.")
        [waiting] = await insert(apart, brief.new("z"))
        assert "partition_suspended" in {reason.code for reason in (await oban.why(waiting)).reasons}
        assert await oban.limiter("default", "z").available() == 0
        await oban.limiter("default", "z").reset()
        await eventually(lambda: len(jobs.starts) == 63)
        await oban.scale_queue("default", global_limit=None, partition=None)
        assert (await conftest.one(apart, "limits")).status in ("ok", "warning")
        assert len(first) == 61
