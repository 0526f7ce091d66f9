"""What belongs to a job goes with it."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from oban_sqla import Job, Oban, Prune, job, migrations
from oban_sqla.models.belongings import BELONGINGS
from oban_sqla.runtime.duties.orphans import Orphans
from oban_sqla.runtime.lanes.lane import Lane
from oban_sqla.runtime.lanes.line import Line
from oban_sqla.statements.belongings import orphans
from tests.cron.clock import Leader, grant
from tests.pruning.test_pruner import finish, left, prune, pruner
from tests.runtime.helpers import execute, insert
from tests.support import eventually

ROWS = {
    "oban_progress": "INSERT INTO oban_progress (job_id, done) VALUES (:id, 1)",
    "oban_events": "INSERT INTO oban_events (job_id, kind, n, value) SELECT :id, k, n, '1' FROM "
    "generate_series(0, 1) k, generate_series(1, 3) n",
    "oban_steps": "INSERT INTO oban_steps (job_id, name) VALUES (:id, 'one'), (:id, 'two')",
    "oban_signals": "INSERT INTO oban_signals (job_id, name) VALUES (:id, 'approved')",
}


@job(name="deletion.nothing")
async def nothing() -> None: ...


async def belong(engine: AsyncEngine, *ids: int) -> None:
    """Give each of these jobs rows in all tables."""
    for job_id in ids:
        for sql in ROWS.values():
            await execute(engine, sql.replace(":id", str(job_id)))


def everywhere(ids: set[int]) -> dict[str, set[int]]:
    return dict.fromkeys(ROWS, ids)


async def owners(engine: AsyncEngine) -> dict[str, set[int]]:
    """The jobs that have rows, by table."""
    tables = (table.name for table in BELONGINGS)
    return {name: {row[0] for row in await execute(engine, f"SELECT job_id FROM {name}")} for name in tables}


def test_the_tests_below_know_every_table() -> None:
    assert {table.name for table in BELONGINGS} == set(ROWS)


async def test_pruning_takes_what_belongs_to_the_jobs(any_engine: AsyncEngine) -> None:
    old = [await finish(any_engine, 30, state=state) for state in ("completed", "cancelled", "discarded")]
    young = await finish(any_engine, 1)
    await belong(any_engine, *old, young)
    await prune(any_engine, Prune())
    assert await left(any_engine) == {young}
    assert await owners(any_engine) == everywhere({young})


async def test_pruning_takes_nothing_of_the_jobs_between(any_engine: AsyncEngine) -> None:
    jobs = [await finish(any_engine, hours) for hours in (30, 31, 1, 30, 1, 1, 32, 30)]
    kept = {jobs[2], jobs[4], jobs[5]}
    await belong(any_engine, *jobs)
    await prune(any_engine, Prune())
    assert await owners(any_engine) == everywhere(kept)


async def test_pruning_by_count_takes_it_too(engine: AsyncEngine) -> None:
    jobs = [await finish(engine, hours) for hours in (3, 2, 1)]
    await belong(engine, *jobs)
    await prune(engine, Prune(policies=[Prune.Policy(state="completed", max_count=1)]))
    assert await owners(engine) == everywhere({jobs[-1]})


async def test_a_round_without_any_such_row_does_not_look_for_them(engine: AsyncEngine) -> None:
    await finish(engine, 30)
    async with pruner(engine, Prune()) as loop:
        await loop.step()
        assert set(loop._made) == {()}
        loop._round_at = 0.0
        kept = await finish(engine, 1)
        await belong(engine, kept)
        await finish(engine, 30)
        await loop.step()
        assert set(loop._made) == {(), BELONGINGS}
    assert await left(engine) == {kept}


@pytest.mark.parametrize("target", ["ids", "select"])
async def test_delete_takes_what_belongs_to_the_jobs(any_engine: AsyncEngine, target: str) -> None:
    oban = Oban(any_engine)
    ids = await insert(any_engine, *(nothing.new() for _ in range(3)))
    await belong(any_engine, *ids)
    gone: Any = ids[:2] if target == "ids" else select(Job).where(Job.id.in_(ids[:2]))
    assert await oban.delete(gone) == 2
    assert await owners(any_engine) == everywhere({ids[2]})


async def test_a_delete_that_is_rolled_back_takes_nothing(engine: AsyncEngine) -> None:
    oban = Oban(engine)
    ids = await insert(engine, nothing.new())
    await belong(engine, *ids)
    async with AsyncSession(engine) as session:
        assert await oban.delete(ids, session) == 1
        await session.rollback()
    assert await owners(engine) == everywhere(set(ids))


async def test_an_executing_job_keeps_what_belongs_to_it(engine: AsyncEngine) -> None:
    oban = Oban(engine)
    ids = await insert(engine, nothing.new())
    await execute(engine, "UPDATE oban_jobs SET state = 'executing'")
    await belong(engine, *ids)
    assert await oban.delete(ids) == 0
    assert await owners(engine) == everywhere(set(ids))


async def test_what_another_program_has_left_is_found_by_the_walk(
    any_engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oban_sqla.runtime.duties.orphans.PAGE", 3)
    ids = await insert(any_engine, *(nothing.new() for _ in range(10)))
    await belong(any_engine, *ids)
    await execute(any_engine, "DELETE FROM oban_jobs WHERE id = ANY(:ids)", ids=ids[::2])
    await grant(any_engine)
    lane = Lane(Line(any_engine, pooled=False), "leading")
    walk = Orphans(lane=lane, leadership=Leader())  # type: ignore[arg-type]
    try:
        for _ in range(len(BELONGINGS) * 4):
            await walk.step()
    finally:
        await lane.close()
    assert await owners(any_engine) == everywhere(set(ids[1::2]))


async def test_a_leader_walks_when_it_is_elected(engine: AsyncEngine) -> None:
    ids = await insert(engine, nothing.new())
    await belong(engine, *ids)
    await execute(engine, "DELETE FROM oban_jobs")
    async with Oban(engine):

        async def nothing_left() -> bool:
            return not any((await owners(engine)).values())

        await eventually(nothing_left)


async def test_a_node_that_leads_no_more_deletes_nothing(engine: AsyncEngine) -> None:
    [job_id] = await insert(engine, nothing.new())
    await belong(engine, job_id)
    await execute(engine, "DELETE FROM oban_jobs")
    lane = Lane(Line(engine, pooled=False), "leading")
    try:
        for table in BELONGINGS:
            [(last, looked, dropped)] = await lane.run(orphans(table), after=0, limit=10, **Leader().token)
            assert (last, looked, dropped) == (job_id, 1, 0)
    finally:
        await lane.close()


async def test_it_works_in_another_schema(empty_database: str) -> None:
    plain = create_async_engine(empty_database)
    engine = plain.execution_options(schema_translate_map={None: "jobs"})
    try:
        await migrations.migrate(engine, schema="jobs")
        async with engine.begin() as connection:
            await connection.execute(text("SET LOCAL search_path = jobs"))
            await connection.execute(text("INSERT INTO oban_progress (job_id, done) VALUES (1, 1)"))
        async with Oban(engine):

            async def nothing_left() -> bool:
                async with plain.connect() as connection:
                    return (await connection.scalar(text("SELECT count(*) FROM jobs.oban_progress"))) == 0

            await eventually(nothing_left)
    finally:
        await engine.dispose()
        await plain.dispose()
