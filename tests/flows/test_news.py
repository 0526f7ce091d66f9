"""What happens to jobs of a flow is told by a trigger, and acted on by the nodes, whoever wrote it."""

from __future__ import annotations

from itertools import pairwise

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import Oban, job
from tests.runtime.helpers import execute
from tests.support import eventually


@job(name="tests.flows.news", queue="flows")
async def nothing() -> None: ...


async def line(engine: AsyncEngine, nodes: int) -> list[int]:
    """A flow of `nodes` jobs, each of which waits for the one before, by plain SQL."""
    [(flow,)] = await execute(engine, "INSERT INTO oban_workflows (name) VALUES ('line') RETURNING id")
    rows = await execute(
        engine,
        "INSERT INTO oban_jobs (worker, queue, workflow_id, state) SELECT 'tests.flows.news', 'flows', :flow, "
        "CASE WHEN n = 1 THEN 'available' ELSE 'suspended' END::oban_job_state FROM generate_series(1, :n) n "
        "RETURNING id",
        flow=flow,
        n=nodes,
    )
    ids = sorted(row[0] for row in rows)
    for before, after in pairwise(ids):
        await execute(engine, "INSERT INTO oban_deps (dep_id, job_id) VALUES (:d, :j)", d=before, j=after)
    return ids


async def states(engine: AsyncEngine) -> list[str]:
    return [row[0] for row in await execute(engine, "SELECT state::text FROM oban_jobs ORDER BY id")]


async def flow_state(engine: AsyncEngine) -> list[str]:
    return [row[0] for row in await execute(engine, "SELECT state FROM oban_workflows ORDER BY id")]


async def finished(engine: AsyncEngine) -> None:
    async def done() -> bool:
        assert "executing" not in await flow_state(engine), (await states(engine), await flow_state(engine))
        return True

    await eventually(done)


async def test_each_job_of_a_line_runs_after_the_one_before(engine: AsyncEngine) -> None:
    await line(engine, 4)
    async with Oban(engine, queues={"flows": 2}, poll_interval=30):
        await finished(engine)
    assert await states(engine) == ["completed"] * 4
    assert await flow_state(engine) == ["completed"]
    assert await execute(engine, "SELECT id FROM oban_news") == []


async def test_what_another_program_acknowledges_is_found_by_the_poll(engine: AsyncEngine) -> None:
    first, _ = await line(engine, 2)
    done = "UPDATE oban_jobs SET state = 'completed', completed_at = now() WHERE id = :id"
    await execute(engine, done, id=first)
    async with Oban(engine, queues={"flows": 2}, poll_interval=0.1):
        await finished(engine)
    assert await states(engine) == ["completed"] * 2


async def test_a_failure_cancels_all_that_comes_after_it_and_they_say_which_one_it_was(engine: AsyncEngine) -> None:
    first, *_ = await line(engine, 3)
    await execute(engine, "UPDATE oban_jobs SET node_name = 'fetch' WHERE id = :id", id=first)
    async with Oban(engine, queues={}, poll_interval=0.1) as oban:
        await oban.cancel(first)
        await finished(engine)
    assert await states(engine) == ["cancelled"] * 3
    said = await execute(engine, "SELECT errors -> 0 ->> 'error' FROM oban_jobs WHERE id > :id", id=first)
    assert {row[0] for row in said} == {f"cancelled because 'fetch' (job {first}) was cancelled"}
    assert await flow_state(engine) == ["cancelled"]


async def test_a_locked_dependant_delays_no_ack_and_is_released_later(engine: AsyncEngine) -> None:
    _, second = await line(engine, 2)
    async with engine.begin() as holder:
        await holder.execute(text("SELECT FROM oban_jobs WHERE id = :id FOR UPDATE"), {"id": second})
        async with Oban(engine, queues={"flows": 2}, poll_interval=0.1):

            async def acknowledged() -> bool:
                return (await states(engine))[0] == "completed"

            await eventually(acknowledged)
            assert (await states(engine))[1] == "suspended"
            await holder.rollback()
            await finished(engine)
    assert await states(engine) == ["completed"] * 2


async def test_the_sweep_finds_what_no_trigger_saw(engine: AsyncEngine) -> None:
    first, _ = await line(engine, 2)
    async with engine.begin() as connection:
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        await connection.execute(text(f"UPDATE oban_jobs SET state = 'completed' WHERE id = {first}"))
    assert await execute(engine, "SELECT FROM oban_news") == []
    assert await execute(engine, "SELECT oban_sweep_flows(100)") == [(1,)]
    async with Oban(engine, queues={"flows": 2}, poll_interval=0.1):
        await finished(engine)
    assert await states(engine) == ["completed"] * 2


async def test_a_role_that_may_only_change_jobs_need_not_know_of_the_news(engine: AsyncEngine) -> None:
    first, _ = await line(engine, 2)
    async with engine.connect() as connection:
        await connection.execute(text("CREATE ROLE flows_writer"))
        await connection.execute(text("GRANT SELECT, UPDATE ON oban_jobs TO flows_writer"))
        await connection.execute(text("SET ROLE flows_writer"))
        await connection.execute(text("SET search_path = ''"))
        await connection.execute(text(f"UPDATE public.oban_jobs SET state = 'completed' WHERE id = {first}"))
        await connection.execute(text("RESET ROLE"))
        found = await connection.execute(text("SELECT job_id, state FROM public.oban_news"))
        assert [tuple(row) for row in found] == [(first, "completed")]
        await connection.rollback()
