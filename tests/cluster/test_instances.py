"""Several runtimes in one process: two instances, two schemas, two databases. None disturbs another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from oban_sqla import Oban, current_job, job, migrations
from tests.cluster.helpers import QUICK, lease_of_another
from tests.runtime.helpers import execute, insert, until
from tests.support import eventually

ran: list[tuple[str, int]] = []


@job(name="instances.note", queue="both")
async def note(seconds: float = 0.0) -> None:
    ran.append((current_job().attempted_by[0], current_job().id))
    await asyncio.sleep(seconds)


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    ran.clear()


@pytest.fixture
async def apart(engine: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    """The same database, another schema."""
    await migrations.migrate(engine, schema="apart")
    yield engine.execution_options(schema_translate_map={None: "apart"})
    await execute(engine, "DROP SCHEMA apart CASCADE")


@pytest.fixture
async def elsewhere(empty_database: str) -> AsyncIterator[AsyncEngine]:
    """Another database."""
    engine = create_async_engine(empty_database)
    await migrations.migrate(engine)
    yield engine
    await engine.dispose()


async def test_two_instances_have_a_leader_each_and_share_the_jobs(engine: AsyncEngine) -> None:
    async with (
        Oban(engine, name="one", node="one", queues={"both": 2}, **QUICK) as one,
        Oban(engine, name="two", node="two", queues={"both": 2}, **QUICK) as two,
    ):
        assert one.is_leader
        assert two.is_leader
        ids = await insert(engine, *(note.options(schedule_in=0.2).new(0.05) for _ in range(20)))
        for job_id in ids:
            await until(engine, job_id, "completed")
        assert sorted(job_id for _, job_id in ran) == sorted(ids), "staged by two leaders, and run once"
        long = await insert(engine, *(note.new(3.0) for _ in range(4)))
        for job_id in long:  # seven times what makes a producer stale, under two lifelines
            assert (await until(engine, job_id, "completed")).attempt == 1
        await one.stop()
        assert two.is_leader
        assert [name for (name,) in await execute(engine, "SELECT name FROM oban_leaders ORDER BY 1")] == [
            "oban_sqla:two",
            "two",
        ]


async def test_an_instance_leads_whether_or_not_another_does(engine: AsyncEngine) -> None:
    await lease_of_another(engine, "oban_sqla:one")
    async with Oban(engine, name="one") as one, Oban(engine, name="two") as two:
        assert not one.is_leader
        assert two.is_leader


async def test_two_schemas_have_a_leader_each_and_their_own_jobs(engine: AsyncEngine, apart: AsyncEngine) -> None:
    async with (
        Oban(engine, node="public", queues={"both": 2}, **QUICK) as one,
        Oban(apart, node="apart", queues={"both": 2}, **QUICK) as two,
    ):
        assert one.is_leader
        assert two.is_leader
        [mine] = await insert(engine, note.options(schedule_in=0.2).new())
        await until(engine, mine, "completed")
        assert ran == [("public", mine)]
        [theirs] = await insert(apart, note.options(schedule_in=0.2).new())
        await eventually(lambda: ("apart", theirs) in ran)
        await one.stop()
        assert two.is_leader, "a resignation is heard in its own schema"


async def test_two_databases_have_a_leader_each_and_their_own_jobs(engine: AsyncEngine, elsewhere: AsyncEngine) -> None:
    async with (
        Oban(engine, node="here", queues={"both": 2}, **QUICK) as one,
        Oban(elsewhere, node="elsewhere", queues={"both": 2}, **QUICK) as two,
    ):
        assert one.is_leader
        assert two.is_leader
        [mine] = await insert(engine, note.new(2.0))
        [theirs] = await insert(elsewhere, note.new(2.0))
        for database, job_id in ((engine, mine), (elsewhere, theirs)):
            assert (await until(database, job_id, "completed")).attempt == 1
        assert sorted(node for node, _ in ran) == ["elsewhere", "here"]
